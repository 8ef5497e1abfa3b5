// Rotary embedding on pitched rows, in place. T is float or bf16.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"

namespace rora::cuda {

// Rotates `heads` neighbouring heads of head_dim features; feature i pairs with i + head_dim / 2.
template <class T>
struct Rope {
  int64_t tokens, heads, head_dim;
  const int32_t* positions;      // [tokens]
  const float *cosines, *sines;  // [positions in use, head_dim / 2]
  bool inverse;                  // rotates backwards, which is the gradient
  T* x;                          // the first head's first feature
  int64_t pitch;
};

template <class T>
const char* rope(Stream stream, const Rope<T>& op);

}  // namespace rora::cuda
