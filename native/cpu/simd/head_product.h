// The products inside attention:  c[i, lane] (+)= sum_k a(i, k) b[k, lane]  for 64 lanes.
//
// `a` is read where it lies, element (i, k) at a[i * row_stride + k * k_stride], and broadcast; b
// and c are [..][64] floats in L1 or L2. A tile is up to 6 rows by the lanes that fit the
// registers, as in gemm.h, which packs its left factor; here that would cost as much as the
// product.
#pragma once

#include "cpu/simd/gemm.h"

namespace rora::RORA_LEVEL {

struct LeftFactor {
  const float* data;
  int64_t row_stride, k_stride;
};

// A head's features lie in rows of 64 tokens. Tokens as rows of the left factor, features as k:
static inline LeftFactor tokens_by_features(const float* head) { return {head, 1, kPanel}; }
// features as rows, tokens as k:
static inline LeftFactor features_by_tokens(const float* head) { return {head, kPanel, 1}; }

template <int Rows>
static inline void head_tile(LeftFactor a, int64_t k, const float* b, float* c, bool add) {
  for (int lane = 0; lane < kPanel; lane += kTileLanes) {
    vfloat sum[Rows][kTileVectors];
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v)
        sum[i][v] = add ? load(c + i * kPanel + lane + v * kLanes) : vfloat{};
    for (int64_t j = 0; j < k; ++j) {
      vfloat bv[kTileVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) bv[v] = load(b + j * kPanel + lane + v * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) {
        const vfloat broadcast = splat(a.data[i * a.row_stride + j * a.k_stride]);
#pragma GCC unroll 8
        for (int v = 0; v < kTileVectors; ++v) sum[i][v] += broadcast * bv[v];
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) store(c + i * kPanel + lane + v * kLanes, sum[i][v]);
  }
}

// All rows of c.
static inline void head_product(int64_t rows, LeftFactor a, int64_t k, const float* b, float* c,
                                bool add) {
  for (; rows >= kTileRows; rows -= kTileRows) {
    head_tile<kTileRows>(a, k, b, c, add);
    a.data += kTileRows * a.row_stride;
    c += kTileRows * kPanel;
  }
  switch (rows) {
    case 1:
      return head_tile<1>(a, k, b, c, add);
    case 2:
      return head_tile<2>(a, k, b, c, add);
    case 3:
      return head_tile<3>(a, k, b, c, add);
    case 4:
      return head_tile<4>(a, k, b, c, add);
    case 5:
      return head_tile<5>(a, k, b, c, add);
    default:
      return;
  }
}

}  // namespace rora::RORA_LEVEL
