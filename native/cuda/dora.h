// DoRA's row norms and scales (adapter.h in the API has the formula). The weight is float or bf16,
// everything else float or, where sums need it, double.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"

namespace rora::cuda {

// squares[n] = |W[n]|^2, summed in double.
template <class T>
struct RowSquares {
  int64_t rows, columns;
  const T* weight;
  int64_t pitch;
  double* squares;
};

// norms[n] = |V[n]|,  V = W + scaling B A;  row_scale[n] = magnitude[n] / norms[n], or 0 if that
// is 0.
template <class T>
struct DoraNorms {
  int64_t out_features, in_features, rank;
  const T* weight;  // [out_features, in_features]
  int64_t weight_pitch;
  const float* lora_A;  // [rank, in_features]
  int64_t lora_A_pitch;
  const float* lora_B;  // [out_features, rank]
  int64_t lora_B_pitch;
  float scaling;
  const float* magnitude;      // [out_features]
  const double* base_squares;  // [out_features], from row_squares()
  float* norms;                // [out_features]
  float* row_scale;            // [out_features]
  float* workspace;            // dora_workspace() floats
};

int64_t dora_workspace(int64_t out_features, int64_t rank);

template <class T>
const char* row_squares(Stream stream, const RowSquares<T>& op);
template <class T>
const char* dora_norms(Stream stream, const DoraNorms<T>& op);

}  // namespace rora::cuda
