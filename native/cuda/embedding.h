// Embedding rows into pitched rows, and their gradients back. Table and activations may each be
// float or bf16; the table's gradient is floats.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"

namespace rora::cuda {

// y[t] = table[ids[t]]
template <class Table, class T>
struct EmbeddingForward {
  int64_t tokens, width;
  const int32_t* ids;  // [tokens], rows of the table
  const Table* table;
  int64_t table_pitch;
  T* y;
  int64_t y_pitch;
};

// gradient[ids[t]] += dy[t], in the order of the tokens.
template <class T>
struct EmbeddingBackward {
  int64_t tokens, width;
  const int32_t* ids;
  const T* dy;
  int64_t dy_pitch;
  float* gradient;
  int64_t gradient_pitch;
};

template <class Table, class T>
const char* embedding_forward(Stream stream, const EmbeddingForward<Table, T>& op);
template <class T>
const char* embedding_backward(Stream stream, const EmbeddingBackward<T>& op);

}  // namespace rora::cuda
