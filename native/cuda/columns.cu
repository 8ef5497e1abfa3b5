// Sums over tokens of single columns, masked rows, moved rows.
#include "cuda/columns.h"

#include "cuda/rows.h"

namespace rora::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kStripe = 128;  // tokens whose sum one thread forms

template <class T>
struct Stage {
  ColumnSums<T> op;
  int64_t stripes;
};

// First stage:  workspace[s, n] = sum over the stripe's tokens of dy[t, n] other[t, n].
//
//   stripe 0 | n = 0 1 2 ... |   A thread owns a column of a stripe of 128 tokens and walks down;
//   stripe 1 | n = 0 1 2 ... |   neighbours read neighbouring columns.
//
// Traffic: dy and other once, sums of 1 / 128 of that. Reference: cpu/reference/linear.cpp.
template <class T>
__global__ void __launch_bounds__(kThreads) column_stripe_kernel(Stage<T> stage) {
  const ColumnSums<T>& op = stage.op;
  const int64_t n = int64_t(blockIdx.y) * kThreads + threadIdx.x;
  if (n >= op.columns) return;
  const int64_t first = int64_t(blockIdx.x) * kStripe;
  const int64_t last = first + kStripe < op.tokens ? first + kStripe : op.tokens;
  float sum = 0.0f;
  for (int64_t t = first; t < last; ++t) {
    const float dy = widen(op.dy[t * op.dy_pitch + n]);
    sum += op.other ? dy * widen(op.other[t * op.other_pitch + n]) : dy;
  }
  op.workspace[blockIdx.x * op.columns + n] = sum;
}

// Second stage:  sum[n] += sum over the stripes, in their order, / divisor[n].
template <class T>
__global__ void __launch_bounds__(kThreads) column_total_kernel(Stage<T> stage) {
  const ColumnSums<T>& op = stage.op;
  const int64_t n = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (n >= op.columns) return;
  double sum = 0.0;
  for (int64_t s = 0; s < stage.stripes; ++s) sum += double(op.workspace[s * op.columns + n]);
  if (!op.divisor)
    op.sum[n] += float(sum);
  else if (op.divisor[n] > 0)
    op.sum[n] += float(sum / double(op.divisor[n]));
}

// target = mask o source, four features a thread, which one call of the
// generator serves. Traffic: each operand once. Reference: cpu/philox.h.
template <class T>
__global__ void __launch_bounds__(kThreads) mask_rows_kernel(MaskRows<T> op) {
  const int64_t f = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * 4, t = blockIdx.x;
  if (f >= op.columns) return;
  float factor[4];
  dropout_factors(op.dropout, op.order[t], f, factor);
  const T* source = op.source + t * op.source_pitch;
  T* target = op.target + t * op.target_pitch;
  for (int64_t i = f; i < f + 4 && i < op.columns; ++i)
    put(target[i], factor[i - f] * widen(source[i]));
}

// Rows gathered or scattered by an index, one row a block. Traffic: the rows twice.
template <class T>
__global__ void __launch_bounds__(kThreads) move_rows_kernel(MoveRows<T> op) {
  const int64_t row = blockIdx.x, other = op.index[row];
  const T* source = op.source + (op.scatter ? row : other) * op.source_pitch;
  T* target = op.target + (op.scatter ? other : row) * op.target_pitch;
  for (int64_t f = threadIdx.x; f < op.columns; f += kThreads) target[f] = source[f];
}

}  // namespace

int64_t column_sums_workspace(int64_t tokens, int64_t columns) {
  return blocks_of(tokens, kStripe) * columns;
}

template <class T>
const char* column_sums(Stream stream, const ColumnSums<T>& op) {
  if (op.tokens == 0 || op.columns == 0) return "";
  const Stage<T> stage = {op, blocks_of(op.tokens, kStripe)};
  const uint32_t across = uint32_t(blocks_of(op.columns, kThreads));
  const char* error = launch(column_stripe_kernel<T>, {uint32_t(stage.stripes), across}, kThreads,
                             0, stream, stage);
  if (*error) return error;
  return launch(column_total_kernel<T>, {across}, kThreads, 0, stream, stage);
}

template <class T>
const char* mask_rows(Stream stream, const MaskRows<T>& op) {
  if (op.tokens == 0 || op.columns == 0) return "";
  const uint32_t threads = block_for(blocks_of(op.columns, 4), kThreads);
  return launch(mask_rows_kernel<T>,
                {uint32_t(op.tokens), uint32_t(blocks_of(blocks_of(op.columns, 4), threads))},
                threads, 0, stream, op);
}

template <class T>
const char* move_rows(Stream stream, const MoveRows<T>& op) {
  if (op.rows == 0 || op.columns == 0) return "";
  return launch(move_rows_kernel<T>, {uint32_t(op.rows)}, kThreads, 0, stream, op);
}

template const char* column_sums(Stream, const ColumnSums<float>&);
template const char* column_sums(Stream, const ColumnSums<bf16>&);
template const char* mask_rows(Stream, const MaskRows<float>&);
template const char* mask_rows(Stream, const MaskRows<bf16>&);
template const char* move_rows(Stream, const MoveRows<float>&);
template const char* move_rows(Stream, const MoveRows<bf16>&);

}  // namespace rora::cuda
