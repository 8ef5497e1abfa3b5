// What biases, DoRA, dropout and the loss need besides products: sums over tokens of single
// columns, rows under a dropout mask, rows gathered and scattered. T is float or bf16.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/philox.h"

namespace rora::cuda {

// sum[n] += sum_t dy[t, n] other[t, n] / divisor[n]; without `other` its factor is 1, without
// `divisor` nothing is divided; where a divisor is not positive nothing is added.
template <class T>
struct ColumnSums {
  int64_t tokens, columns;
  const T* dy;
  int64_t dy_pitch;
  const T* other;  // or NULL
  int64_t other_pitch;
  const float* divisor;  // [columns], or NULL
  float* sum;            // [columns]
  float* workspace;      // column_sums_workspace() floats
};

// target[t, k] = mask[t, k] source[t, k], mask being 0 or 1 / (1 - p).
template <class T>
struct MaskRows {
  int64_t tokens, columns;
  const T* source;
  int64_t source_pitch;
  T* target;
  int64_t target_pitch;
  const int32_t* order;  // [tokens]
  Dropout dropout;
};

// target[t] = source[index[t]]; scattered: target[index[t]] = source[t].
template <class T>
struct MoveRows {
  int64_t rows, columns;
  const int32_t* index;  // [rows], different ones
  const T* source;
  int64_t source_pitch;
  T* target;
  int64_t target_pitch;
  bool scatter;
};

int64_t column_sums_workspace(int64_t tokens, int64_t columns);

template <class T>
const char* column_sums(Stream stream, const ColumnSums<T>& op);
template <class T>
const char* mask_rows(Stream stream, const MaskRows<T>& op);
template <class T>
const char* move_rows(Stream stream, const MoveRows<T>& op);

}  // namespace rora::cuda
