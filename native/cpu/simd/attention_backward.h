// The backward pass of attention.h:
//   p = exp(s - lse),  dv = p dy,  ds = p o (dy v - delta),  delta = sum_d dy o y,  dq = ds k,  dk
//   = ds q
// (arXiv:2205.14135, appendix B.2).
#pragma once

#include "cpu/simd/attention.h"

namespace rora::RORA_LEVEL {

// What both passes need of one head of one panel of queries.
struct QueryBlock {
  float* q;         // [head_dim][64], scaled
  float* dy_copy;   // room for dy
  float* out_copy;  // room for y
  const float* dy;  // [head_dim][64]
  float* delta;     // [64]
  const float* lse;
};

static inline QueryBlock take_query_block(HeadScratch& scratch, int64_t dim) {
  QueryBlock block = {};
  block.q = scratch.take(dim);
  block.dy_copy = scratch.take(dim);
  block.out_copy = scratch.take(dim);
  block.delta = scratch.take(1);
  return block;
}

static inline void load_query_block(const AttentionOp& op, int64_t head, int64_t panel,
                                    QueryBlock& block) {
  const int64_t dim = op.shape.head_dim, row = head * dim;
  scaled_head_rows(*op.qkv, panel, row, dim, score_scale(op), block.q);
  block.dy = head_rows(*op.dy, panel, row, dim, block.dy_copy);
  const float* out = head_rows(*op.out, panel, row, dim, block.out_copy);
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    vfloat sum = {};
    for (int64_t d = 0; d < dim; ++d)
      sum += load(block.dy + d * kPanel + lane) * load(out + d * kPanel + lane);
    store(block.delta + lane, sum);
  }
  block.lse = op.lse + head * round_up(op.qkv->max_tokens, kPanel) + panel * kPanel;
}

// dq of one head of one panel of queries.
static inline void query_gradient(const AttentionOp& op, int64_t head, int64_t panel,
                                  char* memory) {
  const int64_t dim = op.shape.head_dim, kv_row = head / group_size(op) * dim;
  HeadScratch scratch = {reinterpret_cast<float*>(memory)};
  QueryBlock query = take_query_block(scratch, dim);
  float *key_copy = scratch.take(dim), *value_copy = scratch.take(dim), *dq = scratch.take(dim);
  float *scores = scratch.take(kPanel), *products = scratch.take(kPanel), *scale = scratch.take(1);
  load_query_block(op, head, panel, query);
  for (int64_t i = 0; i < dim * kPanel; ++i) dq[i] = 0.0f;

  const LaneRanges ranges = lane_ranges(*op.batch, panel);
  for (int64_t p = ranges.min_first / kPanel; p <= ranges.max_last / kPanel; ++p) {
    const KeyBlock block = key_block(p, ranges.min_first, ranges.max_last);
    const float* k = head_rows(*op.qkv, p, op.shape.key_column + kv_row, dim, key_copy);
    const float* v = head_rows(*op.qkv, p, op.shape.value_column + kv_row, dim, value_copy);
    head_product(block.count, tokens_by_features(k + block.first), dim, query.q, scores, false);
    head_product(block.count, tokens_by_features(v + block.first), dim, query.dy, products, false);
    mask_scores(ranges, block, scores);
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      const vfloat lse = load(query.lse + lane), delta = load(query.delta + lane);
      for (int64_t j = 0; j < block.count; ++j) {
        float* s = scores + j * kPanel + lane;
        store(s, exp(load(s) - lse) * (load(products + j * kPanel + lane) - delta));
      }
    }
    head_product(dim, features_by_tokens(k + block.first), block.count, scores, dq, true);
  }
  for (int lane = 0; lane < kPanel; ++lane) scale[lane] = score_scale(op);
  store_head(dq, scale, dim, *op.d_qkv, panel, head * dim);
}

// Probabilities and score gradients of query tokens [first, first + count) of a panel, keys as
// lanes: turns `scores` into p and `products` (dy v) into ds.
static inline void key_lane_gradients(const LaneRanges& ranges, const QueryBlock& query,
                                      int64_t keys, int64_t first, int64_t count, float* scores,
                                      float* products) {
  for (int64_t j = 0; j < count; ++j) {
    const int64_t t = first + j;
    const float lse = query.lse[t], delta = query.delta[t];
    const vint begin = splat_int(ranges.first[t]), end = splat_int(ranges.last[t]);
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      float *s = scores + j * kPanel + lane, *d = products + j * kPanel + lane;
      const vint key = lane_numbers(lane) + int32_t(keys);
      const vfloat p = (begin <= key) & (key <= end) ? exp(load(s) - lse) : vfloat{};
      store(s, p);
      store(d, p * (load(d) - delta));
    }
  }
}

// The tokens of a panel, first and one past the last, that attend to any of keys [first_key,
// last_key].
struct TokenStretch {
  int64_t first, end;
};
static inline TokenStretch attending_tokens(const LaneRanges& r, int64_t first_key,
                                            int64_t last_key) {
  TokenStretch stretch = {kPanel, 0};
  for (int64_t t = 0; t < kPanel; ++t) {
    if (r.first[t] > last_key || r.last[t] < first_key) continue;
    stretch.first = min_of(stretch.first, t);
    stretch.end = t + 1;
  }
  return stretch;
}

// dk and dv of one key/value head of one panel of keys.
static inline void key_value_gradient(const AttentionOp& op, int64_t kv_head, int64_t panel,
                                      const LaneRanges* all_ranges, char* memory) {
  const int64_t dim = op.shape.head_dim, group = group_size(op), keys = panel * kPanel;
  const int64_t key_row = op.shape.key_column + kv_head * dim;
  const int64_t value_row = op.shape.value_column + kv_head * dim;
  HeadScratch scratch = {reinterpret_cast<float*>(memory)};
  QueryBlock query = take_query_block(scratch, dim);
  float *key_copy = scratch.take(dim), *value_copy = scratch.take(dim);
  float *dk = scratch.take(dim), *dv = scratch.take(dim), *ones = scratch.take(1);
  float *scores = scratch.take(kPanel), *products = scratch.take(kPanel);
  const float* k = head_rows(*op.qkv, panel, key_row, dim, key_copy);
  const float* v = head_rows(*op.qkv, panel, value_row, dim, value_copy);
  for (int64_t i = 0; i < dim * kPanel; ++i) dk[i] = dv[i] = 0.0f;
  for (int lane = 0; lane < kPanel; ++lane) ones[lane] = 1.0f;

  for (int64_t p = 0; p < panels(op.qkv->tokens); ++p) {
    const LaneRanges& ranges = all_ranges[p];
    const TokenStretch tokens = attending_tokens(ranges, keys, keys + kPanel - 1);
    const int64_t first = tokens.first, count = tokens.end - tokens.first;
    if (count <= 0) continue;
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      load_query_block(op, head, p, query);
      const float *q = query.q + first, *dy = query.dy + first;
      head_product(count, tokens_by_features(q), dim, k, scores, false);
      head_product(count, tokens_by_features(dy), dim, v, products, false);
      key_lane_gradients(ranges, query, keys, first, count, scores, products);
      head_product(dim, features_by_tokens(dy), count, scores, dv, true);
      head_product(dim, features_by_tokens(q), count, products, dk, true);
    }
  }
  store_head(dk, ones, dim, *op.d_qkv, panel, key_row);
  store_head(dv, ones, dim, *op.d_qkv, panel, value_row);
}

static inline void attention_backward(rora_context& context, const AttentionOp& op) {
  const int64_t count = panels(op.qkv->tokens), own = attention_scratch_bytes(op);
  context.pool->reserve(own + count * int64_t(sizeof(LaneRanges)));
  LaneRanges* ranges =
      reinterpret_cast<LaneRanges*>(context.pool->scratch(0) + own);  // for all threads
  for (int64_t p = 0; p < count; ++p) ranges[p] = lane_ranges(*op.batch, p);
  parallel(*context.pool, count * op.shape.heads, [&](int64_t task, int32_t thread) {
    query_gradient(op, task % op.shape.heads, count - 1 - task / op.shape.heads,
                   context.pool->scratch(thread));
  });
  parallel(*context.pool, count * op.shape.kv_heads, [&](int64_t task, int32_t thread) {
    key_value_gradient(op, task % op.shape.kv_heads, task / op.shape.kv_heads, ranges,
                       context.pool->scratch(thread));
  });
}

}  // namespace rora::RORA_LEVEL
