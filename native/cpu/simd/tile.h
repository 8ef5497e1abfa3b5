// The innermost products of the panel GEMM: some rows of a left factor times one panel of 64
// tokens.
//
//   acc[i][lane] (+)= sum_j w(i, j) x[j][lane]     j counts words of four bytes: a float, or the
//                                                  pair of bf16 (2j, 2j + 1) of the reduction
//
//          x [words][64]          6 rows times 64 tokens are 24 AVX-512 accumulators. For each
//          x0 x1 ....... x63      word: 4 loads of x, 6 broadcasts of w, 24 multiply-adds, so
//   w    +-------------------+    their issue is the limit. The loop over words is unrolled: one
//  rows  | 6 x 64 sums       |    word a turn costs 10 % (docs/performance-log.md).
//        +-------------------+
//
// amx.h has the same for matrix tiles. Reference: cpu/reference/linear.cpp.
#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "cpu/simd/vec.h"

namespace rora::RORA_LEVEL {

constexpr int kTileRows = 6;
// 6 x 4 accumulators need 32 registers; with 16 registers 6 x 2 fit.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif

// sum + x w, where x and w are vectors of words.
struct FloatWords {
  static vfloat multiply_add(vfloat sum, vfloat x, vfloat w) { return sum + x * w; }
};

#if defined(__AVX512BF16__)
struct PairWords {
  static vfloat multiply_add(vfloat sum, vfloat x, vfloat w) {
    return (vfloat)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)w);
  }
};
#endif

// Six rows of a left factor: either as they lie in memory, row i at data + i * row_words, or
// interleaved, word (i, j) at data[j * 6 + i]. Words of rows may lie at any even address.
struct Strip {
  const char* data;
  int64_t row_bytes;  // 0: interleaved
};

static inline float word_at(const char* p) {
  float word;
  __builtin_memcpy(&word, p, sizeof word);
  return word;
}

template <class Words, int kVectors, bool kInterleaved>
static inline void tile_lanes(int64_t words, const Strip& w, const float* x, const float* ahead,
                              float* acc, bool add) {
  vfloat c[kTileRows][kVectors];
  const char* row[kTileRows];
#pragma GCC unroll 6
  for (int i = 0; i < kTileRows; ++i) {
    row[i] = w.data + (kInterleaved ? 0 : i * w.row_bytes);
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v)
      c[i][v] = add ? load(acc + i * kPanel + v * kLanes) : vfloat{};
  }
  const auto multiply_word = [&](int64_t j) __attribute__((always_inline)) {
    vfloat xv[kVectors];
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) xv[v] = load(x + j * kPanel + v * kLanes);
#pragma GCC unroll 6
    for (int i = 0; i < kTileRows; ++i) {
      const vfloat b =
          splat(kInterleaved ? word_at(w.data + (j * kTileRows + i) * 4) : word_at(row[i] + j * 4));
#pragma GCC unroll 4
      for (int v = 0; v < kVectors; ++v) c[i][v] = Words::multiply_add(c[i][v], xv[v], b);
    }
  };
  int64_t j = 0;
  for (; j + 4 <= words; j += 4) {
    __builtin_prefetch(ahead + j * kPanel, 0, 2);
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) multiply_word(j + i);
  }
  if (j < words) multiply_word(j++);
  if (j < words) multiply_word(j++);
  if (j < words) multiply_word(j);
#pragma GCC unroll 6
  for (int i = 0; i < kTileRows; ++i)
#pragma GCC unroll 4
    for (int v = 0; v < kVectors; ++v) store(acc + i * kPanel + v * kLanes, c[i][v]);
}

template <class Words, int kVectors>
static inline void tile_vectors(int64_t words, const Strip& w, const float* x, const float* ahead,
                                float* acc, bool add, int64_t lanes) {
  for (int64_t lane = 0; lane < lanes; lane += kVectors * kLanes) {
    if (w.row_bytes == 0)
      tile_lanes<Words, kVectors, true>(words, w, x + lane, ahead, acc + lane, add);
    else
      tile_lanes<Words, kVectors, false>(words, w, x + lane, ahead, acc + lane, add);
  }
}

// The first `lanes` lanes or some more; x and acc have rows of 64. Of every fourth row of `ahead`,
// which a later call reads as its x, one line is fetched.
template <class Words>
static inline void tile(int64_t words, const Strip& w, const float* x, const float* ahead,
                        float* acc, bool add, int64_t lanes = kPanel) {
  if (lanes <= kLanes)
    tile_vectors<Words, 1>(words, w, x, ahead, acc, add, lanes);
  else if (lanes <= 2 * kLanes)
    tile_vectors<Words, 2>(words, w, x, ahead, acc, add, lanes);
  else
    tile_vectors<Words, kTileVectors>(words, w, x, ahead, acc, add, lanes);
}

}  // namespace rora::RORA_LEVEL
