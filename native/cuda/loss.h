// Cross entropy of a chunk of logits, which become their own gradient. T is float or bf16.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"

namespace rora::cuda {

// For rows with a label:  loss = log(sum exp(logits)) - logits[label],
//                         logits = (softmax(logits) - onehot(label)) / divisor.
// Rows without one (label < 0) have no loss and the gradient zero.
template <class T>
struct CrossEntropy {
  int64_t rows, vocabulary;
  T* logits;
  int64_t pitch;
  const int32_t* labels;  // [rows], below `vocabulary`
  double divisor;
  bool gradient;       // false leaves the logits alone
  double* row_losses;  // [rows], overwritten
  float* token_loss;   // [rows], overwritten, or NULL
  double* loss_sum;    // the rows' losses are added to it
};

template <class T>
const char* cross_entropy(Stream stream, const CrossEntropy<T>& op);

}  // namespace rora::cuda
