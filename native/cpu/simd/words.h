// Rearranging the four-byte words of panels: a float, or a pair of bf16.
#pragma once

#include "cpu/simd/amx.h"

namespace rora::RORA_LEVEL {

// Sixteen pairs of features of one token each, at tokens t and t + 16, as pairs of tokens.
static inline void pair_tokens(const float* pairs, int64_t row, int half, float* even, float* odd) {
  const float* p = pairs + row / 2 * kPanel + half * 32;
  for (int lane = 0; lane < 16; lane += kLanes) {
    const vuint near = load_u32(p + lane), far = load_u32(p + 16 + lane);
    store_u32(even + lane, (near & 0xffffu) | far << 16);
    store_u32(odd + lane, near >> 16 | (far & 0xffff0000u));
  }
}

template <int... j>
struct LaneList {};
template <int count>
using LanesUpTo = LaneList<__integer_pack(count)...>;
using AllLanes = LanesUpTo<kLanes>;

// Lane j of the two halves of a transposition's stage, at distance d.
template <int d, int... j>
static inline vuint keep_low(vuint a, vuint b, LaneList<j...>) {
  return __builtin_shufflevector(a, b, (j & d ? kLanes + j - d : j)...);
}
template <int d, int... j>
static inline vuint keep_high(vuint a, vuint b, LaneList<j...>) {
  return __builtin_shufflevector(a, b, (j & d ? kLanes + j : j + d)...);
}

template <int d>
static inline void transpose_lanes(vuint* v) {
  if constexpr (d > 0) {
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i)
      if (!(i & d)) {
        const vuint a = v[i], b = v[i + d];
        v[i] = keep_low<d>(a, b, AllLanes{});
        v[i + d] = keep_high<d>(a, b, AllLanes{});
      }
    transpose_lanes<d / 2>(v);
  }
}

// target[j * stride + i] = words[i * 64 + j] for i, j < kLanes.
static inline void transpose_words(const float* words, float* target, int64_t stride) {
  vuint rows[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) rows[i] = load_u32(words + i * kPanel);
  transpose_lanes<kLanes / 2>(rows);
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) store_u32(target + i * stride, rows[i]);
}

// `count` rows of one panel as left factor of matrix tiles, pairs of tokens as words: steps `step`
// and step + 1 of every strip.
static inline void pack_token_pairs(const float* rows, int64_t count, int64_t steps, int64_t step,
                                    float* strips) {
  for (int64_t i = 0; i < round_up(count, kStripRows); i += 2) {
    float* target =
        strips + (i / kStripRows * steps + step) * (kStepBytes / 4) + i % kStripRows * (kStep / 2);
    for (int half = 0; half < 2; ++half, target += kStepBytes / 4) {
      if (i < count)
        pair_tokens(rows, i, half, target, target + kStep / 2);
      else
        __builtin_memset(target, 0, kStep * 4);
    }
  }
}

}  // namespace rora::RORA_LEVEL
