// AdamW over a flat array, sums of squares and the factor that clips gradients. All floats.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"

namespace rora::cuda {

// One update as rora_adamw() in the API describes it; then the gradients are zero. Every operation
// is rounded as the reference rounds it, so that the results are the same bits.
struct Adamw {
  double learning_rate, beta1, beta2, epsilon, weight_decay;
  double gradient_scale;
  const double* clip_factor;  // on the device, another factor of the gradients, or NULL
  int64_t step;               // from 1
  int64_t count;
  float *values, *gradients, *first_moments, *second_moments;
  bf16* copies;  // [count], receives the new values, or NULL
};

// The sum in double, in an order that depends on `count` and the alignment of `values` alone.
struct SumOfSquares {
  int64_t count;
  const float* values;
  double* workspace;  // sum_of_squares_workspace() doubles
  double* sum;        // overwritten
};

// factor = min(1, max_norm / (sqrt(sum_of_squares) + 1e-6)), or 1 if max_norm is 0; NaN stays NaN.
struct ClipFactor {
  const double* sum_of_squares;
  double max_norm;
  double* factor;
};

int64_t sum_of_squares_workspace(int64_t count);

const char* adamw(Stream stream, const Adamw& op);
const char* sum_of_squares(Stream stream, const SumOfSquares& op);
const char* clip_factor(Stream stream, const ClipFactor& op);

}  // namespace rora::cuda
