// AdamW (arXiv:1711.05101) as torch.optim.AdamW orders its float32 operations, and sums of squares.
//
// Element by element in stretches that tasks own; the end of a range goes through the same vector
// code, so that results do not depend on how ranges are cut. Reference:
// cpu/reference/optimizer.cpp.
#pragma once

#include "cpu/simd/vec.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kStretch = 16384;  // elements in a task

struct AdamwFactors {
  float decay, weight1, beta2, weight2, root_correction2, step_size, epsilon, gradient_scale;
};

static inline AdamwFactors adamw_factors(const rora_adamw_step& s) {
  const double correction1 = 1 - __builtin_pow(s.beta1, double(s.step));
  const double correction2 = 1 - __builtin_pow(s.beta2, double(s.step));
  return {float(1 - s.learning_rate * s.weight_decay),
          float(1 - s.beta1),
          float(s.beta2),
          float(1 - s.beta2),
          float(__builtin_sqrt(correction2)),
          float(s.learning_rate / correction1),
          float(s.epsilon),
          float(s.gradient_scale)};
}

static inline vfloat square_root(vfloat v) {
  for (int i = 0; i < kLanes; ++i) v[i] = __builtin_sqrtf(v[i]);
  return v;
}

static inline void adamw_lanes(const AdamwFactors& f, float* values, float* gradients, float* first,
                               float* second) {
  const vfloat g = load(gradients) * f.gradient_scale;
  vfloat m = load(first), v = load(second);
  m = m + f.weight1 * (g - m);
  v = v * f.beta2 + f.weight2 * g * g;
  const vfloat denominator = square_root(v) / f.root_correction2 + f.epsilon;
  store(values, load(values) * f.decay - f.step_size * m / denominator);
  store(first, m);
  store(second, v);
  store(gradients, vfloat{});
}

// The last count < kLanes elements, through copies as long as a vector.
static inline void adamw_rest(const AdamwFactors& f, int64_t count, float* const* arrays) {
  float copy[4][kLanes] = {};
  const uint64_t bytes = uint64_t(count) * sizeof(float);
  for (int i = 0; i < 4; ++i) __builtin_memcpy(copy[i], arrays[i], bytes);
  adamw_lanes(f, copy[0], copy[1], copy[2], copy[3]);
  for (int i = 0; i < 4; ++i) __builtin_memcpy(arrays[i], copy[i], bytes);
}

static inline void adamw(rora_context& context, const AdamwOp& op) {
  const AdamwFactors f = adamw_factors(op.step);
  parallel(*context.pool, blocks_of(op.count, kStretch), [&](int64_t task, int32_t) {
    const int64_t last = min_of(op.count, (task + 1) * kStretch);
    int64_t i = task * kStretch;
    for (; i + kLanes <= last; i += kLanes)
      adamw_lanes(f, op.values + i, op.gradients + i, op.first_moments + i, op.second_moments + i);
    float* const rest[] = {op.values + i, op.gradients + i, op.first_moments + i,
                           op.second_moments + i};
    if (i < last) adamw_rest(f, last - i, rest);
  });
}

constexpr int64_t kSquares = 65536;  // elements in a partial sum
constexpr int kSums = 16;            // running sums within it

static inline double stretch_of_squares(const float* values, int64_t count) {
  double sum[kSums] = {};
  int64_t i = 0;
  for (; i + kSums <= count; i += kSums)
    for (int j = 0; j < kSums; ++j) sum[j] += double(values[i + j]) * double(values[i + j]);
  for (; i < count; ++i) sum[0] += double(values[i]) * double(values[i]);
  for (int j = 1; j < kSums; ++j) sum[0] += sum[j];
  return sum[0];
}

static inline void sum_of_squares(rora_context& context, const SumOfSquaresOp& op) {
  const int64_t stretches = blocks_of(op.count, kSquares);
  context.pool->reserve(stretches * int64_t(sizeof(double)));
  double* partial = reinterpret_cast<double*>(context.pool->scratch(0));
  parallel(*context.pool, stretches, [&](int64_t task, int32_t) {
    const int64_t first = task * kSquares;
    partial[task] = stretch_of_squares(op.values + first, min_of(kSquares, op.count - first));
  });
  double sum = 0;
  for (int64_t i = 0; i < stretches; ++i) sum += partial[i];
  *op.sum = sum;
}

}  // namespace rora::RORA_LEVEL
