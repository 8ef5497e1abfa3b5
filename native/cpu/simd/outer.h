// Sums over tokens: the gradients of weights and adapters.
//
//   out[i, j] += left_scale[i] * sum_t left[i, t] right[j, t]
//
// Tokens are lanes, so a sum over tokens is a dot product of rows. A task owns 48 x 48 outputs; for
// 1024 tokens at a time it copies its rows of both sides into contiguous floats (2 x 196 KB, which
// L2 holds) and runs 4 x 6 tiles of dot products over them: 10 loads for 24 FMAs. Reference:
// cpu/reference/linear.cpp.
#pragma once

#include "cpu/simd/gemm.h"

namespace rora::RORA_LEVEL {

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

struct OuterJob {
  const rora_activation* left;
  int64_t left_row, left_count;
  const float* left_scale;  // [left_count] or NULL
  const rora_activation* right;
  int64_t right_row, right_count;  // right_row is even
  int64_t right_stream;            // dropout stream of right, or -1
  float* out;
  int64_t out_stride;
};

constexpr int64_t kOuterBlock = 48;
constexpr int64_t kOuterPanels = 16;
constexpr int64_t kOuterStride = kOuterPanels * kPanel;
constexpr int64_t kOuterWords = kOuterBlock * kOuterStride;
constexpr int64_t kOuterScratchBytes =
    (2 * kOuterWords + kOuterBlock * kOuterBlock + kOuterBlock * kPanel) * 4;

// Copies `count` rows of panels [first, last) side by side: target[i * kOuterStride + (p - first) *
// 64].
static inline void gather_rows(const rora_activation& a, int64_t row, int64_t count, int64_t first,
                               int64_t last, float* target) {
  for (int64_t panel = first; panel < last; ++panel)
    widen_rows(a, panel, row, count, target + (panel - first) * kPanel, kOuterStride);
}

static inline void mask_gathered(const Dropout& dropout, uint32_t stream, int64_t f, int64_t count,
                                 int64_t first, int64_t last, float* target, float* mask) {
  for (int64_t panel = first; panel < last; ++panel) {
    mask_rows(dropout, stream, panel, f, count, mask);
    for (int64_t i = 0; i < count; ++i)
      for (int lane = 0; lane < kPanel; lane += kLanes) {
        float* p = target + i * kOuterStride + (panel - first) * kPanel + lane;
        store(p, load(p) * load(mask + i * kPanel + lane));
      }
  }
}

static inline void run_outer_block(const OuterJob& job, int64_t i, int64_t j, int64_t all,
                                   const Dropout* dropout, char* memory) {
  float* left = reinterpret_cast<float*>(memory);
  float *right = left + kOuterWords, *sums = right + kOuterWords;
  float* mask = sums + kOuterBlock * kOuterBlock;
  const int64_t rows = min_of(kOuterBlock, job.left_count - i);
  const int64_t columns = min_of(kOuterBlock, job.right_count - j);
  for (int64_t w = 0; w < kOuterBlock * kOuterBlock; ++w) sums[w] = 0.0f;
  for (int64_t first = 0; first < all; first += kOuterPanels) {
    const int64_t last = min_of(all, first + kOuterPanels);
    gather_rows(*job.left, job.left_row + i, rows, first, last, left);
    gather_rows(*job.right, job.right_row + j, columns, first, last, right);
    if (job.right_stream >= 0)
      mask_gathered(*dropout, uint32_t(job.right_stream), j, columns, first, last, right, mask);
    dot_rows((last - first) * kPanel, kOuterStride, left, rows, right, columns, sums, kOuterBlock);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const float scale = job.left_scale ? job.left_scale[i + r] : 1.0f;
    float* out = job.out + (i + r) * job.out_stride + j;
    for (int64_t c = 0; c < columns; ++c) out[c] += scale * sums[r * kOuterBlock + c];
  }
}

// Runs independent jobs over `tokens` tokens. One of the two sides is a gradient, whose tokens past
// the last are zero.
static inline void run_outer(rora_context& context, const OuterJob* jobs, int count, int64_t tokens,
                             const Dropout* dropout) {
  const int64_t all = panels(tokens);
  if (all == 0 || count == 0) return;
  int64_t start[2 * kMaxJobs + 1] = {};
  for (int j = 0; j < count; ++j)
    start[j + 1] = start[j] + blocks_of(jobs[j].left_count, kOuterBlock) *
                                  blocks_of(jobs[j].right_count, kOuterBlock);
  context.pool->reserve(kOuterScratchBytes);
  parallel(*context.pool, start[count], [&](int64_t task, int32_t thread) {
    int j = 0;
    while (task >= start[j + 1]) ++j;
    const int64_t left_blocks = blocks_of(jobs[j].left_count, kOuterBlock), at = task - start[j];
    run_outer_block(jobs[j], at % left_blocks * kOuterBlock, at / left_blocks * kOuterBlock, all,
                    dropout, context.pool->scratch(thread));
  });
}

}  // namespace rora::RORA_LEVEL
