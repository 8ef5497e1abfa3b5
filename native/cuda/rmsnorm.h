// RMSNorm on pitched rows. T is float or bf16; the weight and its gradient are floats.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"

namespace rora::cuda {

// y = x r weight,  r = 1 / sqrt(mean(x^2) + eps). y may be x.
template <class T>
struct RmsNormForward {
  int64_t tokens, width;
  const T* x;
  int64_t x_pitch;
  const float* weight;  // [width]
  float eps;
  T* y;
  int64_t y_pitch;
};

// dx += r (weight o dy - x r^2 mean(x o weight o dy)),
// weight_gradient += sum over tokens of dy o x r.
template <class T>
struct RmsNormBackward {
  int64_t tokens, width;
  const T* x;
  int64_t x_pitch;
  const float* weight;
  float eps;
  const T* dy;
  int64_t dy_pitch;
  T* dx;
  int64_t dx_pitch;
  float* weight_gradient;  // [width], or NULL
  float* workspace;  // rmsnorm_workspace() floats, aligned to 16 bytes; NULL with the gradient
};

// Floats that the weight's gradient needs.
int64_t rmsnorm_workspace(int64_t tokens, int64_t width);

template <class T>
const char* rmsnorm_forward(Stream stream, const RmsNormForward<T>& op);
template <class T>
const char* rmsnorm_backward(Stream stream, const RmsNormBackward<T>& op);

}  // namespace rora::cuda
