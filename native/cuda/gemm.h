// The products of a group of projections that share their input, each with its low-rank slab
// (linear.h in the API has the formulas). T is float or bf16; sums are fp32. Rows of activations
// are pitched; weights and adapters are row-major with a pitch. Whatever is aligned to 16 bytes and
// has a pitch of whole chunks of 16 bytes is copied asynchronously, the rest by elements.
#pragma once

#include "cuda/launch.h"
#include "cuda/machine.h"
#include "cuda/philox.h"

namespace rora::cuda {

constexpr int kMaxProjections = 4;

// y[t, column + n] = row_scale[n] (sum_k x[t, k] weight[n, k] + sum_j h[t, j] lora_B[n, j])
//                    + bias[n] + residual[t, column + n].
// With dropout and a row_scale (DoRA, in PEFT's form) the base product has two parts,
//   sum_k x[t, k] weight[n, k] + (row_scale[n] - 1) sum_k x'[t, k] weight[n, k] + row_scale[n] ...,
// where x' is x o mask / (1 - p).
// Out is T, or float for logits.
template <class T, class Out = T>
struct GemmForward {
  struct Projection {
    int64_t out = 0, column = 0;
    const T* weight = nullptr;  // [out, in]
    int64_t weight_pitch = 0;
    int64_t rank = 0;      // 0: no adapter; h and lora_B are not looked at
    const T* h = nullptr;  // [tokens, rank] with x's pitch: columns of x's rows behind its width
    const T* lora_B = nullptr;  // [out, rank]
    int64_t lora_B_pitch = 0;
    const float* row_scale = nullptr;  // [out], DoRA's; or NULL
    const float* bias = nullptr;       // [out], or NULL
    Dropout dropout;                   // looked at if the op drops and there is a row_scale
  };
  int64_t tokens = 0, in = 0;
  int32_t projections = 0;
  Projection projection[kMaxProjections];
  const T* x = nullptr;  // [tokens, in]
  int64_t x_pitch = 0;
  const Out* residual = nullptr;  // like y, or NULL; may be y
  int64_t residual_pitch = 0;
  Out* y = nullptr;
  int64_t y_pitch = 0;
  const int32_t* order = nullptr;  // [tokens]; NULL: no dropout
  float* workspace = nullptr;      // aligned to 16 bytes
  int64_t workspace_floats = 0;
};

// dx[t, k] (+)= sum over projections of
//   sum_n row_scale[n] dy[t, column + n] weight[n, k] + sum_j g[t, j] lora_A[j, k],
// one launch that writes dx once. With a row_scale (DoRA) bf16 rounds row_scale dy. With dropout
// each projection adds
//   sum_n dy weight[n, k]
//   + mask[t, k] / (1 - p) (sum_n (row_scale[n] - 1) dy weight[n, k] + sum_j g lora_A[j, k]).
template <class T>
struct GemmBackward {
  struct Projection {
    int64_t out = 0, column = 0;
    const T* weight = nullptr;  // [out, in]
    int64_t weight_pitch = 0;
    const float* row_scale = nullptr;  // [out], or NULL
    int64_t rank = 0;                  // 0: no adapter; g and lora_A are not looked at
    const T* g = nullptr;              // [tokens, rank] with dy's pitch
    const T* lora_A = nullptr;         // [rank, in]
    int64_t lora_A_pitch = 0;
    Dropout dropout;  // looked at if the op drops
  };
  int64_t tokens = 0, in = 0;
  int32_t projections = 0;
  Projection projection[kMaxProjections];
  const T* dy = nullptr;
  int64_t dy_pitch = 0;
  bool accumulate = false;
  T* dx = nullptr;  // [tokens, in]
  int64_t dx_pitch = 0;
  const int32_t* order = nullptr;  // [tokens]; NULL: no dropout
  float* workspace = nullptr;      // aligned to 16 bytes
  int64_t workspace_floats = 0;
};

// Floats of workspace that the op needs on the machine; 0 where there are tiles enough.
template <class T, class Out>
int64_t gemm_workspace(const Machine& machine, const GemmForward<T, Out>& op);
template <class T>
int64_t gemm_workspace(const Machine& machine, const GemmBackward<T>& op);

// Return "" or what was wrong.
template <class T, class Out>
const char* gemm_forward(Stream stream, const Machine& machine, const GemmForward<T, Out>& op);
template <class T>
const char* gemm_backward(Stream stream, const Machine& machine, const GemmBackward<T>& op);

}  // namespace rora::cuda
