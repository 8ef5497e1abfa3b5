// SwiGLU on pitched rows: gate and up are columns of one activation. T is float or bf16.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"

namespace rora::cuda {

// y = silu(gate) o up
template <class T>
struct SwigluForward {
  int64_t tokens, width;
  const T *gate, *up;
  int64_t pitch;  // of both
  T* y;
  int64_t y_pitch;
};

// The gradients of gate and up; d_gate and d_up may be gate and up.
template <class T>
struct SwigluBackward {
  int64_t tokens, width;
  const T *gate, *up;
  int64_t pitch;
  const T* dy;
  int64_t dy_pitch;
  T *d_gate, *d_up;
  int64_t d_pitch;
};

template <class T>
const char* swiglu_forward(Stream stream, const SwigluForward<T>& op);
template <class T>
const char* swiglu_backward(Stream stream, const SwigluBackward<T>& op);

}  // namespace rora::cuda
