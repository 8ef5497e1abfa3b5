// DoRA's row norms:
//
//   |V[n]|^2 = |W[n]|^2 + 2 s (W A^T)[n] . B[n] + s^2 B[n] (A A^T) B[n]^T,   V = W + s B A
//
// without anything of size out x in: W A^T is formed for 48 rows at a time, by tiles of dot
// products over the features (10 loads for 24 multiply-adds). Reference: cpu/reference/dora.cpp.
#pragma once

#include "cpu/simd/vec.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kNormRowsAtOnce = 48;

#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kDotLeft = 4, kDotRight = 6;
#else
constexpr int kDotLeft = 2, kDotRight = 4;
#endif

// sums[i * sum_stride + j] += sum_k left[i * stride + k] right[j * stride + k] for i < rows <=
// kDotLeft, j < columns <= kDotRight; length is a multiple of kLanes. Missing rows repeat the last
// one.
static inline void dot_tile(int64_t length, int64_t stride, const float* left, int64_t rows,
                            const float* right, int64_t columns, float* sums, int64_t sum_stride) {
  const float *l[kDotLeft], *r[kDotRight];
  for (int64_t i = 0; i < kDotLeft; ++i) l[i] = left + min_of(i, rows - 1) * stride;
  for (int64_t j = 0; j < kDotRight; ++j) r[j] = right + min_of(j, columns - 1) * stride;
  vfloat c[kDotLeft][kDotRight] = {};
  for (int64_t k = 0; k < length; k += kLanes) {
    vfloat rv[kDotRight];
#pragma GCC unroll 8
    for (int j = 0; j < kDotRight; ++j) rv[j] = load(r[j] + k);
#pragma GCC unroll 8
    for (int i = 0; i < kDotLeft; ++i) {
      const vfloat lv = load(l[i] + k);
#pragma GCC unroll 8
      for (int j = 0; j < kDotRight; ++j) c[i][j] += lv * rv[j];
    }
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) sums[i * sum_stride + j] += sum_lanes(c[i][j]);
}

// All pairs of `rows` and `columns` contiguous rows.
static inline void dot_rows(int64_t length, int64_t stride, const float* left, int64_t rows,
                            const float* right, int64_t columns, float* sums, int64_t sum_stride) {
  for (int64_t j = 0; j < columns; j += kDotRight)
    for (int64_t i = 0; i < rows; i += kDotLeft)
      dot_tile(length, stride, left + i * stride, min_of(kDotLeft, rows - i), right + j * stride,
               min_of(kDotRight, columns - j), sums + i * sum_stride + j, sum_stride);
}

static inline void dora_norms(rora_context& context, const DoraNormsOp& op) {
  const rora_adapter& adapter = *op.adapter;
  const int64_t rank = adapter.rank, in = adapter.in_features;
  const int64_t length = round_up(in, kLanes);  // zero padded copies of rows
  const int64_t block_words = kNormRowsAtOnce * length;
  const int64_t task_words = block_words + kNormRowsAtOnce * rank;
  context.pool->reserve((rank * length + rank * rank) * 4 + task_words * 4);
  // The copies of A and of A A^T lie behind the first thread's own scratch; tasks only read them.
  float* a = reinterpret_cast<float*>(context.pool->scratch(0)) + task_words;
  float* gram = a + rank * length;
  for (int64_t j = 0; j < rank; ++j)
    for (int64_t k = 0; k < length; ++k)
      a[j * length + k] = k < in ? adapter.lora_A[j * in + k] : 0.0f;
  for (int64_t w = 0; w < rank * rank; ++w) gram[w] = 0.0f;
  dot_rows(length, length, a, rank, a, rank, gram, rank);
  parallel(*context.pool, blocks_of(adapter.out_features, kNormRowsAtOnce),
           [&](int64_t task, int32_t t) {
             float* w = reinterpret_cast<float*>(context.pool->scratch(t));
             float* product = w + block_words;
             const int64_t first = task * kNormRowsAtOnce;
             const int64_t rows = min_of(kNormRowsAtOnce, adapter.out_features - first);
             for (int64_t i = 0; i < rows; ++i)
               for (int64_t k = 0; k < length; ++k)
                 w[i * length + k] = k < in ? weight_at(*op.weight, first + i, k) : 0.0f;
             for (int64_t i = 0; i < rows * rank; ++i) product[i] = 0.0f;
             dot_rows(length, length, w, rows, a, rank, product, rank);
             for (int64_t i = 0; i < rows; ++i) {
               const float* b = adapter.lora_B + (first + i) * rank;
               double cross = 0, square = 0;
               for (int64_t j = 0; j < rank; ++j) {
                 double inner = 0;
                 for (int64_t k = 0; k < rank; ++k)
                   inner += double(gram[j * rank + k]) * double(b[k]);
                 cross += double(product[i * rank + j]) * double(b[j]);
                 square += double(b[j]) * inner;
               }
               const double s = double(adapter.scaling);
               const double sum = adapter.base_squares[first + i] + 2 * s * cross + s * s * square;
               const float norm = float(__builtin_sqrt(sum > 0 ? sum : 0));
               op.norms[first + i] = norm;
               op.row_scale[first + i] = norm > 0 ? adapter.magnitude[first + i] / norm : 0.0f;
             }
           });
}

}  // namespace rora::RORA_LEVEL
