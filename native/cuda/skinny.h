// The products around a group's low-rank slabs (linear.h in the API has the formulas): what the
// slabs are multiplied with, and sums over tokens, the gradients of adapters and weights. T is
// float or bf16; sums are fp32. Alignment as in gemm.h.
#pragma once

#include "cuda/gemm.h"
#include "cuda/launch.h"
#include "cuda/machine.h"
#include "cuda/philox.h"

namespace rora::cuda {

// h[t, j] = scaling sum_k x'[t, k] lora_A[j, k], rounded to T. x' is x, or with dropout x o mask /
// (1 - p), each projection with its own mask. Adapters of one scaling whose lora_A lie one behind
// the other, and whose h do so too, read x once.
template <class T>
struct ShrinkForward {
  struct Projection {
    int64_t rank = 0;           // 0: no adapter
    float scaling = 1.0f;       // gamma
    const T* lora_A = nullptr;  // [rank, in]
    int64_t lora_A_pitch = 0;
    T* h = nullptr;   // [tokens, rank] with x's pitch: columns of x's rows behind its width
    Dropout dropout;  // looked at if the op drops
  };
  int64_t tokens = 0, in = 0;
  int32_t projections = 0;
  Projection projection[kMaxProjections];
  const T* x = nullptr;  // [tokens, in]
  int64_t x_pitch = 0;
  const int32_t* order = nullptr;  // [tokens]; NULL: no dropout
  float* workspace = nullptr;      // aligned to 16 bytes
  int64_t workspace_floats = 0;
};

// g[t, j] = scaling sum_n row_scale[n] dy[t, column + n] lora_B[n, j], rounded to T. With a
// row_scale (DoRA) bf16 rounds row_scale dy.
template <class T>
struct ShrinkBackward {
  struct Projection {
    int64_t out = 0, column = 0;
    int64_t rank = 0;                  // 0: no adapter
    float scaling = 1.0f;              // gamma
    const float* row_scale = nullptr;  // [out], or NULL
    const T* lora_B = nullptr;         // [out, rank]
    int64_t lora_B_pitch = 0;
    T* g = nullptr;  // [tokens, rank] with dy's pitch
  };
  int64_t tokens = 0;
  int32_t projections = 0;
  Projection projection[kMaxProjections];
  const T* dy = nullptr;
  int64_t dy_pitch = 0;
  float* workspace = nullptr;  // aligned to 16 bytes
  int64_t workspace_floats = 0;
};

// lora_A_gradient[j, k] += sum_t g[t, j] x'[t, k],
// lora_B_gradient[n, j] += row_scale[n] sum_t dy[t, column + n] h[t, j].
template <class T>
struct AdapterSums {
  struct Projection {
    int64_t out = 0, column = 0;
    int64_t rank = 0;      // rows of lora_A and columns of lora_B that are trained; 0: none
    const T* h = nullptr;  // [tokens, rank] with x's pitch
    const T* g = nullptr;  // [tokens, rank] with dy's pitch
    float* lora_A_gradient = nullptr;  // [rank, in]
    float* lora_B_gradient = nullptr;  // [out, rank]
    int64_t lora_A_pitch = 0, lora_B_pitch = 0;
    const float* row_scale = nullptr;  // [out], or NULL
    Dropout dropout;                   // looked at if the op drops
  };
  int64_t tokens = 0, in = 0;
  int32_t projections = 0;
  Projection projection[kMaxProjections];
  const T* x = nullptr;  // [tokens, in]
  int64_t x_pitch = 0;
  const T* dy = nullptr;
  int64_t dy_pitch = 0;
  const int32_t* order = nullptr;  // [tokens]; NULL: no dropout
  float* workspace = nullptr;      // aligned to 16 bytes
  int64_t workspace_floats = 0;
};

// gradient[n, k] += sum_t dy[t, column + n] x[t, k].
template <class T>
struct WeightSums {
  struct Projection {
    int64_t out = 0, column = 0;  // out 0: not trained
    float* gradient = nullptr;    // [out, in]
    int64_t pitch = 0;
  };
  int64_t tokens = 0, in = 0;
  int32_t projections = 0;
  Projection projection[kMaxProjections];
  const T* x = nullptr;  // [tokens, in]
  int64_t x_pitch = 0;
  const T* dy = nullptr;
  int64_t dy_pitch = 0;
  float* workspace = nullptr;  // aligned to 16 bytes
  int64_t workspace_floats = 0;
};

// Floats of workspace that the op needs on the machine; 0 where there are tiles enough.
template <class T>
int64_t shrink_workspace(const Machine& machine, const ShrinkForward<T>& op);
template <class T>
int64_t shrink_workspace(const Machine& machine, const ShrinkBackward<T>& op);
template <class T>
int64_t sums_workspace(const Machine& machine, const AdapterSums<T>& op);
template <class T>
int64_t sums_workspace(const Machine& machine, const WeightSums<T>& op);

// Return "" or what was wrong.
template <class T>
const char* shrink_forward(Stream stream, const Machine& machine, const ShrinkForward<T>& op);
template <class T>
const char* shrink_backward(Stream stream, const Machine& machine, const ShrinkBackward<T>& op);
template <class T>
const char* adapter_sums(Stream stream, const Machine& machine, const AdapterSums<T>& op);
template <class T>
const char* weight_sums(Stream stream, const Machine& machine, const WeightSums<T>& op);

}  // namespace rora::cuda
