// The forward pass for a handful of tokens (generation): rows of W are read once, as they lie in
// memory, and multiplied with row-major copies of the tokens. Memory bandwidth is the limit, and a
// panel's 64 lanes would be mostly empty. Reference: cpu/reference/linear.cpp.
#pragma once

#include "cpu/simd/gemm.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kFewTokens = 4;
constexpr int64_t kFewRows = 32;  // outputs of a task

static inline vfloat load_widened(const float* p) { return load(p); }
static inline vfloat load_widened(const uint16_t* p) {
  typedef uint16_t vhalf __attribute__((vector_size(kLanes * 2)));
  vhalf bits;
  __builtin_memcpy(&bits, p, sizeof bits);
  return (vfloat)(__builtin_convertvector(bits, vuint) << 16);
}

// dots[m] += sum_k w[k] x[m][k] over two accumulators a token.
template <class T>
static inline void dot_few(int64_t k, const T* w, int64_t tokens, const float* x, float* dots) {
  vfloat sum[kFewTokens][2] = {};
  int64_t i = 0;
  for (; i + 2 * kLanes <= k; i += 2 * kLanes) {
    const vfloat w0 = load_widened(w + i), w1 = load_widened(w + i + kLanes);
    for (int64_t m = 0; m < tokens; ++m) {
      sum[m][0] += w0 * load(x + m * k + i);
      sum[m][1] += w1 * load(x + m * k + i + kLanes);
    }
  }
  for (int64_t m = 0; m < tokens; ++m) {
    float dot = sum_lanes(sum[m][0] + sum[m][1]);
    for (int64_t j = i; j < k; ++j) dot += widen(w[j]) * x[m * k + j];
    dots[m] += dot;
  }
}

static inline void run_few_row(const PanelJob& job, int64_t n, int64_t tokens, const float* x) {
  float dots[kFewTokens] = {};
  for (int s = 0; s < job.segments; ++s) {
    const Segment& segment = job.segment[s];
    const Matrix& w = segment.w;
    if (w.dtype == RORA_F32)
      dot_few(segment.k, static_cast<const float*>(w.data) + n * w.stride, tokens, x, dots);
    else
      dot_few(segment.k, static_cast<const uint16_t*>(w.data) + n * w.stride, tokens, x, dots);
    x += tokens * segment.k;
  }
  const float scale = job.row_scale ? job.scale * job.row_scale[n] : job.scale;
  for (int64_t m = 0; m < tokens; ++m) {
    float value = dots[m] * scale + (job.bias ? job.bias[n] : 0.0f);
    if (job.add) value += get(*job.add, m, job.y_row + n);
    set(*job.y, m, job.y_row + n, value);
  }
}

// kStore jobs on untransposed, unscaled matrices without dropout.
static inline void run_few(rora_context& context, const PanelJob* jobs, int count, int64_t tokens) {
  int64_t words = 0;
  int64_t start[kMaxJobs + 1] = {}, x_start[kMaxJobs] = {};
  for (int j = 0; j < count; ++j) {
    x_start[j] = words;
    for (int s = 0; s < jobs[j].segments; ++s) words += tokens * jobs[j].segment[s].k;
    start[j + 1] = start[j] + blocks_of(jobs[j].n, kFewRows);
  }
  context.pool->reserve(words * 4);
  float* x = reinterpret_cast<float*>(context.pool->scratch(0));  // the tasks only read it
  float* p = x;
  for (int j = 0; j < count; ++j)
    for (int s = 0; s < jobs[j].segments; ++s) {
      const Segment& segment = jobs[j].segment[s];
      for (int64_t m = 0; m < tokens; ++m)
        for (int64_t k = 0; k < segment.k; ++k) *p++ = get(*segment.x, m, segment.row + k);
    }
  parallel(*context.pool, start[count], [&](int64_t task, int32_t) {
    int j = 0;
    while (task >= start[j + 1]) ++j;
    const int64_t first = (task - start[j]) * kFewRows;
    for (int64_t n = first; n < min_of(jobs[j].n, first + kFewRows); ++n)
      run_few_row(jobs[j], n, tokens, x + x_start[j]);
  });
}

}  // namespace rora::RORA_LEVEL
