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

static inline vuint interleave_low(vuint a, vuint b) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 0, 8, 1, 9, 2, 10, 3, 11);
#else
  return __builtin_shufflevector(a, b, 0, 4, 1, 5);
#endif
}
static inline vuint interleave_high(vuint a, vuint b) {
#if defined(__AVX512F__)
  return __builtin_shufflevector(a, b, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15,
                                 31);
#elif defined(__AVX2__)
  return __builtin_shufflevector(a, b, 4, 12, 5, 13, 6, 14, 7, 15);
#else
  return __builtin_shufflevector(a, b, 2, 6, 3, 7);
#endif
}

// target[j * stride + i] = words[i * 64 + j] for i, j < kLanes: each round interleaves the first
// half of the rows with the second.
static inline void transpose_words(const float* words, float* target, int64_t stride) {
  vuint rows[kLanes], next[kLanes];
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i) rows[i] = load_u32(words + i * kPanel);
#pragma GCC unroll 4
  for (int round = 1; round < kLanes; round *= 2) {
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = interleave_low(rows[i], rows[i + kLanes / 2]);
      next[2 * i + 1] = interleave_high(rows[i], rows[i + kLanes / 2]);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = next[i];
  }
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
