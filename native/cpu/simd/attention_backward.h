// The backward pass of attention.h:
//   p = exp(s - lse),  dv = p dy,  ds = p o (dy v - delta),  delta = sum_d dy o y,
//   dq = ds k,  dk = ds q
// (arXiv:2205.14135, appendix B.2).
#pragma once

#include "cpu/simd/attention.h"

namespace rora::RORA_LEVEL {

// Of one head of one panel of queries: lse, and delta = sum_d dy o y into `delta` [64].
struct QueryStatistics {
  const float *lse, *delta;
};

static inline QueryStatistics query_statistics(const AttentionOp& op, int64_t head, int64_t panel,
                                               float* delta) {
  const int64_t dim = op.shape.head_dim, row = head * dim;
  with_type(*op.dy, [&](auto type) {
    using T = decltype(type);
    const T *dy = panel_data<T>(*op.dy, panel), *out = panel_data<T>(*op.out, panel);
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      vfloat sum = {};
      for (int64_t d = row; d < row + dim; d += 2) {
        const RowPair a = load_pair(dy, d / 2, lane), b = load_pair(out, d / 2, lane);
        sum += a.even * b.even + a.odd * b.odd;
      }
      store(delta + lane, sum);
    }
  });
  return {op.lse + head * round_up(op.qkv->max_tokens, kPanel) + panel * kPanel, delta};
}

// dq of one head of one panel of queries.
static inline void query_gradient(const AttentionOp& op, int64_t head, int64_t panel,
                                  char* memory) {
  const TileKind kind = tile_kind(op.qkv->dtype);
  const TileSession session(kind == TileKind::kTiles);
  const int64_t dim = op.shape.head_dim, padded = padded_dim(dim);
  const int64_t kv_row = head / group_size(op) * dim;
  HeadScratch scratch = {reinterpret_cast<float*>(memory)};
  float *query_copy = scratch.take(padded), *dy_copy = scratch.take(padded);
  float *key_copy = scratch.take(padded), *value_copy = scratch.take(padded);
  float *key_rows = scratch.take(padded), *dq = scratch.take(padded);
  float *scores = scratch.take(kPanel), *products = scratch.take(kPanel);
  float *words = scratch.take(kPanel), *delta = scratch.take(1), *scales = scratch.take(1);
  const float scale = score_scale(op);
  const float* q = head_right(kind, {op.qkv, panel, head * dim, dim}, query_copy);
  const float* dy = head_right(kind, {op.dy, panel, head * dim, dim}, dy_copy);
  const QueryStatistics query = query_statistics(op, head, panel, delta);
  for (int64_t i = 0; i < padded * kPanel; ++i) dq[i] = 0.0f;

  const LaneRanges ranges = lane_ranges(*op.batch, panel);
  for (int64_t p = ranges.min_first / kPanel; p <= ranges.max_last / kPanel; ++p) {
    const KeyBlock block = key_block(kind, p, ranges.min_first, ranges.max_last);
    const Head key = {op.qkv, p, op.shape.key_column + kv_row, dim};
    const Head value = {op.qkv, p, op.shape.value_column + kv_row, dim};
    multiply_head(kind, block_rows(kind, left_by_tokens(kind, key, key_copy), block), q, scores,
                  false);
    multiply_head(kind, block_rows(kind, left_by_tokens(kind, value, value_copy), block), dy,
                  products, false);
    mask_scores(ranges, block, scale, scores);
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      const vfloat lse = load(query.lse + lane), d = load(query.delta + lane);
      for (int64_t j = 0; j < block.count; ++j) {
        float* s = scores + j * kPanel + lane;
        const vfloat p = exp(load(s) - lse);  // 0 where masked, whatever the product is
        store(s, p != 0.0f ? p * (load(products + j * kPanel + lane) - d) : vfloat{});
      }
    }
    multiply_head(kind, block_words(kind, left_by_features(kind, key, key_rows), block, key_rows),
                  scores_right(kind, scores, words), dq, true);
  }
  for (int lane = 0; lane < kPanel; ++lane) scales[lane] = scale;
  store_head(dq, scales, dim, *op.d_qkv, panel, head * dim);
}

// Probabilities and score gradients of query tokens [first, first + count) of a panel, keys as
// lanes: turns `scores` into p and `products` (dy v) into ds.
static inline void key_lane_gradients(const LaneRanges& ranges, const QueryStatistics& query,
                                      float scale, int64_t keys, int64_t first, int64_t count,
                                      float* scores, float* products) {
  for (int64_t j = 0; j < count; ++j) {
    const int64_t t = first + j;
    const float lse = query.lse[t], delta = query.delta[t];
    const vint begin = splat_int(ranges.first[t]), end = splat_int(ranges.last[t]);
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      float *s = scores + j * kPanel + lane, *d = products + j * kPanel + lane;
      const vint key = lane_numbers(lane) + int32_t(keys);
      const vfloat p = (begin <= key) & (key <= end) ? exp(load(s) * scale - lse) : vfloat{};
      store(s, p);
      store(d, p != 0.0f ? p * (load(d) - delta) : vfloat{});
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
  const TileKind kind = tile_kind(op.qkv->dtype);
  const TileSession session(kind == TileKind::kTiles);
  const int64_t dim = op.shape.head_dim, padded = padded_dim(dim), group = group_size(op);
  const int64_t keys = panel * kPanel;
  const int64_t key_row = op.shape.key_column + kv_head * dim;
  const int64_t value_row = op.shape.value_column + kv_head * dim;
  HeadScratch scratch = {reinterpret_cast<float*>(memory)};
  float *key_copy = scratch.take(padded), *value_copy = scratch.take(padded);
  float *query_copy = scratch.take(padded), *dy_copy = scratch.take(padded);
  float *query_rows = scratch.take(padded), *dy_rows = scratch.take(padded);
  float *dk = scratch.take(padded), *dv = scratch.take(padded);
  float *scores = scratch.take(kPanel), *products = scratch.take(kPanel);
  float *words = scratch.take(kPanel), *delta = scratch.take(1);
  float *scales = scratch.take(1), *ones = scratch.take(1);
  const float* k = head_right(kind, {op.qkv, panel, key_row, dim}, key_copy);
  const float* v = head_right(kind, {op.qkv, panel, value_row, dim}, value_copy);
  for (int64_t i = 0; i < padded * kPanel; ++i) dk[i] = dv[i] = 0.0f;
  for (int lane = 0; lane < kPanel; ++lane) scales[lane] = score_scale(op), ones[lane] = 1.0f;

  for (int64_t p = 0; p < panels(op.qkv->tokens); ++p) {
    const LaneRanges& ranges = all_ranges[p];
    const TokenStretch tokens = attending_tokens(ranges, keys, keys + kPanel - 1);
    if (tokens.first >= tokens.end) continue;
    const KeyBlock block =
        key_block(kind, p, p * kPanel + tokens.first, p * kPanel + tokens.end - 1);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      const QueryStatistics statistics = query_statistics(op, head, p, delta);
      const Head query = {op.qkv, p, head * dim, dim}, gradient = {op.dy, p, head * dim, dim};
      multiply_head(kind, block_rows(kind, left_by_tokens(kind, query, query_copy), block), k,
                    scores, false);
      multiply_head(kind, block_rows(kind, left_by_tokens(kind, gradient, dy_copy), block), v,
                    products, false);
      key_lane_gradients(ranges, statistics, score_scale(op), keys, block.first, block.count,
                         scores, products);
      multiply_head(kind,
                    block_words(kind, left_by_features(kind, gradient, dy_rows), block, dy_rows),
                    scores_right(kind, scores, words), dv, true);
      multiply_head(kind,
                    block_words(kind, left_by_features(kind, query, query_rows), block, query_rows),
                    scores_right(kind, products, words), dk, true);
    }
  }
  store_head(dk, scales, dim, *op.d_qkv, panel, key_row);
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
