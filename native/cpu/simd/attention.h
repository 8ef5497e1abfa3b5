// Causal attention over packed documents (arXiv:1706.03762), scores never stored as a whole
// (arXiv:2205.14135: online softmax forward, recomputation backward).
//
//         64 query tokens       A task owns one head and one panel of queries. For each panel of
//   keys +------------------+   keys that any lane attends to, rows first .. last of it:
//  64 at | S = K Q, masked  |     S[j, lane] = sum_d K[d, j] Q[d, lane]     K broadcast
// a time | P = exp(S - max) |     O[d, lane] = sum_j V[d, j] P[j, lane]     V broadcast
//        +------------------+   Softmax statistics are vertical.
//
// Backward in two passes without sums across tasks: dq with query lanes as above; dk and dv with
// key lanes, where the roles are swapped and a key/value head's task loops over its query heads.
// Per block of 64 x 64: 2, 3 and 4 products of 64 * 64 * head_dim (head_product.h says on what),
// whose left factors are copied once per block where they must be. Each output has one task and one
// order of sums. Reference: cpu/reference/attention.cpp.
#pragma once

#include "cpu/simd/head_product.h"
#include "cpu/simd/math.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kBlock = kPanel * kPanel;  // floats of a block of scores
constexpr float kMaskedScore = -1e30f;       // finite, so that max - max is 0 and not NaN

// Where the keys and values that tokens attend to stand.
struct KeyValues {
  const rora_activation* matrix;
  int64_t key_column, value_column;
};

static inline int64_t group_size(const AttentionOp& op) {
  return op.shape.heads / op.shape.kv_heads;
}

static inline float score_scale(const AttentionOp& op) {
  return float(1.0 / __builtin_sqrt(double(op.shape.head_dim)));
}

// The rows that each lane's token attends to, and over all lanes; unused lanes attend to none.
struct LaneRanges {
  int32_t first[kPanel], last[kPanel];
  int64_t min_first, max_first, min_last, max_last;
};

static inline LaneRanges lane_ranges(const rora_batch& batch, int64_t panel) {
  LaneRanges r;
  r.min_first = r.min_last = INT32_MAX, r.max_first = r.max_last = -1;
  const int active = active_lanes(batch.tokens, panel);
  for (int lane = 0; lane < kPanel; ++lane) {
    const int64_t token = panel * kPanel + lane;
    r.first[lane] = lane < active ? batch.begins[token] : INT32_MAX;
    r.last[lane] = lane < active ? batch.begins[token] + batch.positions[token] : -1;
    r.max_first = max_of(r.max_first, r.first[lane]);
    r.min_last = min_of(r.min_last, r.last[lane]);
    if (lane >= active) continue;
    r.min_first = min_of(r.min_first, r.first[lane]);
    r.max_last = max_of(r.max_last, r.last[lane]);
  }
  return r;
}

static inline vint load_int(const int32_t* p) { return (vint)load_u32(p); }

static inline vint splat_int(int64_t value) { return vint{} + int32_t(value); }

// Lanes that attend to row `key`.
static inline vint attends(const LaneRanges& r, int64_t key, int lane) {
  const vint k = splat_int(key);
  return (load_int(r.first + lane) <= k) & (k <= load_int(r.last + lane));
}

// Stores [dim][64] floats, each lane times factor[lane], zero in unused lanes.
static inline void store_head(const float* rows, const float* factor, int64_t dim,
                              rora_activation& a, int64_t panel, int64_t row) {
  const int active = active_lanes(a.tokens, panel);
  with_type(a, [&](auto type) {
    using T = decltype(type);
    T* target = panel_data<T>(a, panel);
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      const vfloat f = keep(load(factor + lane), lane, active);
      for (int64_t d = 0; d < dim; d += 2) {
        const float* p = rows + d * kPanel + lane;
        const RowPair pair = {load(p) * f, load(p + kPanel) * f};
        store_pair(target, (row + d) / 2, lane, keep(pair, lane, active));
      }
    }
  });
}

// Scratch of a task, [rows][64] floats one after the other.
struct HeadScratch {
  float* next;
  float* take(int64_t rows) {
    float* taken = next;
    next += rows * kPanel;
    return taken;
  }
};

// Eight heads, three blocks of scores and a few rows of statistics at most.
static inline int64_t attention_scratch_bytes(const AttentionOp& op) {
  return (8 * padded_dim(op.shape.head_dim) + 3 * kPanel + 8) * kPanel * int64_t(sizeof(float));
}

// A stretch of rows of one key panel: panel * 64 + first and so on are multiplied, and those from
// used_first to used_last may be attended to.
struct KeyBlock {
  int64_t panel, first, count, used_first, used_last;
  int64_t row() const { return panel * kPanel + first; }
};

// Those that may be attended to. Pairs of tokens and tiles are taken whole: masks do the rest.
static inline KeyBlock key_block(TileKind kind, int64_t panel, int64_t first_row,
                                 int64_t last_row) {
  const int64_t base = panel * kPanel;
  const int64_t first = max_of(first_row - base, 0), last = min_of(last_row - base, kPanel - 1);
  if (kind != TileKind::kFloats) return {panel, 0, kPanel, first, last};
  return {panel, first, last - first + 1, first, last};
}

// The rows of a block as rows, or as words, of a left factor.
static inline HeadLeft block_rows(TileKind kind, HeadLeft left, const KeyBlock& block) {
  if (kind != TileKind::kFloats) return left;
  left.factor.data += block.first;
  left.rows = block.count;
  return left;
}
static inline HeadLeft block_words(TileKind kind, HeadLeft left, const KeyBlock& block,
                                   float* copy) {
  if (kind != TileKind::kFloats) {
    if (block.used_first > 0 || block.used_last < kPanel - 1)
      clear_tokens(kind, left.rows, block.used_first, block.used_last, copy);
    return left;
  }
  left.factor.data += block.first;
  left.words = block.count;
  return left;
}

// Products into scores: times scale, or masked.
static inline void mask_scores(const LaneRanges& ranges, const KeyBlock& block, float scale,
                               float* scores) {
  const bool all =
      ranges.max_first <= block.row() && block.row() + block.count - 1 <= ranges.min_last;
  for (int64_t j = 0; j < block.count; ++j)
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      float* s = scores + j * kPanel + lane;
      const vfloat score = load(s) * scale;
      store(s, all ? score : attends(ranges, block.row() + j, lane) ? score : splat(kMaskedScore));
    }
}

// Turns a block's scores into exp(score - maximum), updates the running maximum and sum
// of each lane and leaves in `correction` what older sums must be multiplied by.
static inline void online_softmax(int64_t keys, float* scores, float* maximum, float* sum,
                                  float* correction) {
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    const vfloat old = load(maximum + lane);
    vfloat highest = old;
    for (int64_t j = 0; j < keys; ++j) highest = max_of(highest, load(scores + j * kPanel + lane));
    vfloat total = {};
    for (int64_t j = 0; j < keys; ++j) {
      const vfloat p = exp(load(scores + j * kPanel + lane) - highest);
      store(scores + j * kPanel + lane, p);
      total += p;
    }
    const vfloat factor = exp(old - highest);
    store(maximum + lane, highest);
    store(sum + lane, load(sum + lane) * factor + total);
    store(correction + lane, factor);
  }
}

static inline void multiply_lanes(int64_t rows, const float* factor, float* values) {
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    const vfloat f = load(factor + lane);
    for (int64_t i = 0; i < rows; ++i)
      store(values + i * kPanel + lane, load(values + i * kPanel + lane) * f);
  }
}

// Writes log(sum) + maximum of a panel's lanes, 0 in unused lanes.
static inline void store_lse(const AttentionOp& op, int64_t head, int64_t panel,
                             const float* maximum, const float* sum) {
  float* lse = op.lse + head * round_up(op.qkv->max_tokens, kPanel) + panel * kPanel;
  const int active = active_lanes(op.qkv->tokens, panel);
  for (int lane = 0; lane < kPanel; ++lane)
    lse[lane] = lane < active ? maximum[lane] + __builtin_logf(sum[lane]) : 0.0f;
}

static inline void attend_panel(const AttentionOp& op, const KeyValues& kv, int64_t head,
                                int64_t panel, char* memory) {
  const TileKind kind = tile_kind(op.qkv->dtype);
  const TileSession session(kind == TileKind::kTiles);
  const int64_t dim = op.shape.head_dim, padded = padded_dim(dim);
  const int64_t kv_row = head / group_size(op) * dim;
  HeadScratch scratch = {reinterpret_cast<float*>(memory)};
  float *query_copy = scratch.take(padded), *key_copy = scratch.take(padded);
  float *value_copy = scratch.take(padded), *out = scratch.take(padded);
  float *scores = scratch.take(kPanel), *words = scratch.take(kPanel);
  float *maximum = scratch.take(1), *sum = scratch.take(1), *factor = scratch.take(1);
  const float* q = head_right(kind, {op.qkv, panel, head * dim, dim}, query_copy);
  for (int lane = 0; lane < kPanel; ++lane) maximum[lane] = kMaskedScore, sum[lane] = 0.0f;
  for (int64_t i = 0; i < padded * kPanel; ++i) out[i] = 0.0f;

  const LaneRanges ranges = lane_ranges(*op.batch, panel);
  for (int64_t p = ranges.min_first / kPanel; p <= ranges.max_last / kPanel; ++p) {
    const KeyBlock block = key_block(kind, p, ranges.min_first, ranges.max_last);
    const Head key = {kv.matrix, p, kv.key_column + kv_row, dim};
    const Head value = {kv.matrix, p, kv.value_column + kv_row, dim};
    const HeadLeft k = block_rows(kind, left_by_tokens(kind, key, key_copy), block);
    const HeadLeft v =
        block_words(kind, left_by_features(kind, value, value_copy), block, value_copy);
    multiply_head(kind, k, q, scores, false);
    mask_scores(ranges, block, score_scale(op), scores);
    online_softmax(block.count, scores, maximum, sum, factor);
    multiply_lanes(dim, factor, out);
    multiply_head(kind, v, scores_right(kind, scores, words), out, true);
  }
  for (int lane = 0; lane < kPanel; ++lane) factor[lane] = 1.0f / sum[lane];
  store_head(out, factor, dim, *op.y, panel, head * dim);
  if (op.lse) store_lse(op, head, panel, maximum, sum);
}

static inline void attend(rora_context& context, const AttentionOp& op, const KeyValues& kv) {
  const int64_t count = panels(op.qkv->tokens), tasks = count * op.shape.heads;
  context.pool->reserve(attention_scratch_bytes(op));
  parallel(*context.pool, tasks, [&](int64_t task, int32_t thread) {
    // Late panels see most keys: first they, so that the threads end together.
    attend_panel(op, kv, task % op.shape.heads, count - 1 - task / op.shape.heads,
                 context.pool->scratch(thread));
  });
}

static inline void attention_forward(rora_context& context, const AttentionOp& op) {
  attend(context, op, {op.qkv, op.shape.key_column, op.shape.value_column});
}

}  // namespace rora::RORA_LEVEL
