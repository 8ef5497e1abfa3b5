// Attention with a key/value cache. Prompts go through attention.h with the cache as key matrix. A
// few queries over many keys would leave most query lanes unused, so for them keys are the lanes:
//
//   s[g, j] = sum_d q[g, d] K[d, j]     K rows as vectors, q broadcast, the query heads of a group
//   o[g, d] = sum_j p[g, j] V[d, j]     together; lanes are summed at the end
//
// Each key and value is read once per group of query heads: memory traffic is the limit.
#pragma once

#include "cpu/simd/attention.h"

namespace rora::RORA_LEVEL {

constexpr int kGroupHeads = 4;  // query heads that one sweep over the cache serves

template <class T>
static inline void append_rows(const AttentionOp& op, int64_t first_pair, int64_t last_pair) {
  const int64_t value_pair = even(op.shape.kv_heads * op.shape.head_dim) / 2;
  const int64_t sources[2] = {op.shape.key_column / 2, op.shape.value_column / 2};
  const int64_t targets[2] = {0, value_pair};
  for (int64_t t = 0; t < op.qkv->tokens; ++t) {
    const int64_t row = op.batch->begins[t] + op.batch->positions[t];
    const T* source = panel_data<T>(*op.qkv, t / kPanel);
    T* target = panel_data<T>(*op.cache, row / kPanel);
    // A pair's two values of one token lie side by side in bf16, a panel row apart in fp32.
    const int64_t from = t % kPanel * (sizeof(T) == 2 ? 2 : 1);
    const int64_t to = row % kPanel * (sizeof(T) == 2 ? 2 : 1);
    const int64_t odd = sizeof(T) == 2 ? 1 : kPanel;
    for (int part = 0; part < 2; ++part)
      for (int64_t pair = first_pair; pair < last_pair; ++pair) {
        const T* s = source + (sources[part] + pair) * 2 * kPanel + from;
        T* d = target + (targets[part] + pair) * 2 * kPanel + to;
        d[0] = s[0];
        d[odd] = s[odd];
      }
  }
}

static inline void append_to_cache(rora_context& context, const AttentionOp& op) {
  // One task is done by the caller: telling the others costs more than copying a few rows.
  const int64_t tasks = op.batch->tokens <= kFewTokens ? 1 : op.shape.kv_heads;
  const int64_t pairs = op.shape.kv_heads * op.shape.head_dim / 2 / tasks;
  parallel(*context.pool, tasks, [&](int64_t task, int32_t) {
    with_type(*op.qkv, [&](auto type) {
      using T = decltype(type);
      append_rows<T>(op, task * pairs, (task + 1) * pairs);
    });
  });
}

// Whether keys should be lanes: one lane costs about a third of a key's share of 64 query lanes'
// work.
static inline bool few_queries(const rora_batch& batch) {
  int64_t by_query_lanes = 0, by_key_lanes = 0;
  for (int64_t p = 0; p < panels(batch.tokens); ++p) {
    const LaneRanges r = lane_ranges(batch, p);
    by_query_lanes += (r.max_last - r.min_first + 1) * kPanel;
    for (int lane = 0; lane < active_lanes(batch.tokens, p); ++lane)
      by_key_lanes += 3 * (r.last[lane] - r.first[lane] + 1);
  }
  return by_key_lanes < by_query_lanes;
}

// One token's query heads [head, head + Heads), which share a key/value head.
struct TokenQuery {
  int64_t token, head, key_row, value_row;
  int64_t first, last;  // cache rows attended to
  int64_t first_panel() const { return first / kPanel; }
  int64_t panel_count() const { return last / kPanel - first_panel() + 1; }
};

template <class T, int Heads>
static inline void token_scores(const AttentionOp& op, const TokenQuery& query, const float* q,
                                float* scores, int64_t stride) {
  const int64_t dim = op.shape.head_dim;
  for (int64_t p = 0; p < query.panel_count(); ++p) {
    const T* keys = panel_data<T>(*op.cache, query.first_panel() + p);
    for (int lane = 0; lane < kPanel; lane += 2 * kLanes) {
      vfloat sum[Heads][2] = {};
      for (int64_t d = 0; d < dim; d += 2) {
        const RowPair a = load_pair(keys, (query.key_row + d) / 2, lane);
        const RowPair b = load_pair(keys, (query.key_row + d) / 2, lane + kLanes);
#pragma GCC unroll 4
        for (int g = 0; g < Heads; ++g) {
          const float low = q[g * dim + d], high = q[g * dim + d + 1];
          sum[g][0] += a.even * low + a.odd * high;
          sum[g][1] += b.even * low + b.odd * high;
        }
      }
      for (int g = 0; g < Heads; ++g) {
        store(scores + g * stride + p * kPanel + lane, sum[g][0]);
        store(scores + g * stride + p * kPanel + lane + kLanes, sum[g][1]);
      }
    }
  }
}

// Softmax of one head's scores, 0 for rows outside of the document; returns 1 / sum, left to the
// caller.
static inline float token_softmax(const TokenQuery& query, float* scores) {
  const int64_t count = query.panel_count() * kPanel, base = query.first_panel() * kPanel;
  vfloat highest = splat(kMaskedScore);
  for (int64_t i = 0; i < count; i += kLanes) {
    const vint row = lane_numbers(int(0)) + int32_t(base + i);
    const vint inside = (row >= int32_t(query.first)) & (row <= int32_t(query.last));
    const vfloat s = inside ? load(scores + i) : splat(kMaskedScore);
    store(scores + i, s);
    highest = max_of(highest, s);
  }
  float maximum = highest[0];
  for (int i = 1; i < kLanes; ++i) maximum = highest[i] > maximum ? highest[i] : maximum;
  vfloat sum = {};
  for (int64_t i = 0; i < count; i += kLanes) {
    const vfloat p = exp(load(scores + i) - maximum);
    store(scores + i, p);
    sum += p;
  }
  return 1.0f / sum_lanes(sum);
}

// Panel by panel, so that values are read as they lie; the lanes' sums [dim][Heads][kLanes] stay in
// L1.
template <class T, int Heads>
static inline void token_values(const AttentionOp& op, const TokenQuery& query, const float* p,
                                int64_t stride, const float* factor, float* sums) {
  const int64_t dim = op.shape.head_dim, lane_of_token = query.token % kPanel;
  for (int64_t i = 0; i < dim * Heads * kLanes; i += kLanes) store(sums + i, vfloat{});
  for (int64_t panel = 0; panel < query.panel_count(); ++panel) {
    const T* values = panel_data<T>(*op.cache, query.first_panel() + panel);
    const float* weights = p + panel * kPanel;
    // Rows that are not attended to have weight 0, but may hold what is not finite.
    const int64_t base = (query.first_panel() + panel) * kPanel;
    const bool whole = query.first <= base && base + kPanel - 1 <= query.last;
    for (int64_t d = 0; d < dim; d += 2) {
      float* even = sums + d * Heads * kLanes;
      float* odd = even + Heads * kLanes;
      RowPair sum[Heads];
#pragma GCC unroll 4
      for (int g = 0; g < Heads; ++g) sum[g] = {load(even + g * kLanes), load(odd + g * kLanes)};
      for (int lane = 0; lane < kPanel; lane += kLanes) {
        RowPair v = load_pair(values, (query.value_row + d) / 2, lane);
        if (!whole) {
          const vint row = lane_numbers(lane) + int32_t(base);
          const vint used = (row >= int32_t(query.first)) & (row <= int32_t(query.last));
          v = {used ? v.even : vfloat{}, used ? v.odd : vfloat{}};
        }
#pragma GCC unroll 4
        for (int g = 0; g < Heads; ++g) {
          const vfloat weight = load(weights + g * stride + lane);
          sum[g].even += v.even * weight;
          sum[g].odd += v.odd * weight;
        }
      }
#pragma GCC unroll 4
      for (int g = 0; g < Heads; ++g) {
        store(even + g * kLanes, sum[g].even);
        store(odd + g * kLanes, sum[g].odd);
      }
    }
  }
  T* y = panel_data<T>(*op.y, query.token / kPanel);
  for (int64_t d = 0; d < dim; ++d)
    for (int g = 0; g < Heads; ++g)
      put(y, (query.head + g) * dim + d, lane_of_token,
          sum_lanes(load(sums + (d * Heads + g) * kLanes)) * factor[g]);
}

template <class T, int Heads>
static inline void attend_token(const AttentionOp& op, const TokenQuery& query, char* memory) {
  const int64_t dim = op.shape.head_dim, stride = query.panel_count() * kPanel;
  float* q = reinterpret_cast<float*>(memory);
  float* sums = q + round_up(Heads * dim, kPanel);
  float* scores = sums + Heads * dim * kLanes;
  const T* source = panel_data<T>(*op.qkv, query.token / kPanel);
  const float scale = score_scale(op);
  for (int64_t i = 0; i < Heads * dim; ++i)
    q[i] = scale * element(source, query.head * dim + i, query.token % kPanel);
  float factor[Heads];
  token_scores<T, Heads>(op, query, q, scores, stride);
  for (int g = 0; g < Heads; ++g) factor[g] = token_softmax(query, scores + g * stride);
  token_values<T, Heads>(op, query, scores, stride, factor, sums);
}

template <class T>
static inline void attend_token_heads(const AttentionOp& op, TokenQuery query, int64_t heads,
                                      char* memory) {
  for (; heads >= kGroupHeads; heads -= kGroupHeads, query.head += kGroupHeads)
    attend_token<T, kGroupHeads>(op, query, memory);
  if (heads == 1) attend_token<T, 1>(op, query, memory);
  if (heads == 2) attend_token<T, 2>(op, query, memory);
  if (heads == 3) attend_token<T, 3>(op, query, memory);
}

static inline void attend_tokens(rora_context& context, const AttentionOp& op) {
  const int64_t dim = op.shape.head_dim, group = group_size(op);
  const int64_t value_column = even(op.shape.kv_heads * dim);
  int64_t longest = 0;
  for (int64_t t = 0; t < op.batch->tokens; ++t) longest = max_of(longest, op.batch->positions[t]);
  const int64_t floats = round_up(kGroupHeads * dim, kPanel) + kGroupHeads * dim * kLanes +
                         kGroupHeads * (longest + 2 * kPanel);
  context.pool->reserve(floats * int64_t(sizeof(float)));
  parallel(*context.pool, op.batch->tokens * op.shape.kv_heads, [&](int64_t task, int32_t thread) {
    const int64_t token = task / op.shape.kv_heads, kv_head = task % op.shape.kv_heads;
    const int64_t first = op.batch->begins[token];
    const TokenQuery query = {token,         kv_head * group,
                              kv_head * dim, value_column + kv_head * dim,
                              first,         first + op.batch->positions[token]};
    with_type(*op.qkv, [&](auto type) {
      using T = decltype(type);
      attend_token_heads<T>(op, query, group, context.pool->scratch(thread));
    });
  });
}

static inline void attention_cached(rora_context& context, const AttentionOp& op) {
  append_to_cache(context, op);
  if (few_queries(*op.batch))
    attend_tokens(context, op);
  else
    attend(context, op, {op.cache, 0, even(op.shape.kv_heads * op.shape.head_dim)});
}

}  // namespace rora::RORA_LEVEL
