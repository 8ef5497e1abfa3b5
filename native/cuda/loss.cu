// Cross entropy and its gradient:
//   loss = m + log(s) - x[label],  m = max(x),  s = sum exp(x - m),
//   dx = exp(x - m) / (s divisor) - onehot(label) / divisor.
//
//         | logits of one row |   A block owns a row. Each thread keeps the largest of its packs of
//         | ppppppppppppp ... |   16 bytes and the sum of exponentials below it (rescaled when it
//    m, s `-------------------'   grows: Milakov and Gimelshein, arXiv:1805.02867), so one pass
//   then  | ppppppppppppp ... |   gives m and s; the second overwrites the logits.
//
// Traffic: the logits are read twice (the second time from L2 while the resident blocks' rows fit:
// 128256 bf16 are 250 KB) and written once; without the gradient they are read once. Shared memory:
// 128 bytes. The sums of exponentials are floats in a thread and doubles in the block, the losses
// doubles that are summed in the order of a tree. Reference: cpu/reference/loss.cpp.
#include "cuda/loss.h"

#include <cfloat>

#include "cuda/rows.h"

namespace rora::cuda {
namespace {

constexpr int kThreads = 512;
constexpr int kSumThreads = 256;

// e^x for x <= 0, to (2 + |x|) 2^-23 of itself in bf16: what is lost where |x| is large is small.
RORA_DEVICE float exponential(const float*, float x) { return expf(x); }
RORA_DEVICE float exponential(const bf16*, float x) { return fast_exp2(x * 1.44269504f); }

// The largest of all threads' values; like block_sum().
RORA_DEVICE float block_max(float value, float* memory) {
  value = warp_max(value);
  if (threadIdx.x % kWarp == 0) memory[threadIdx.x / kWarp] = value;
  block_sync();
  float largest = memory[0];
  for (uint32_t warp = 1; warp < blockDim.x / kWarp; ++warp) largest = fmaxf(largest, memory[warp]);
  block_sync();
  return largest;
}

struct RowSums {
  float maximum;
  double sum;
};

// m and s of a row for all threads. NaN, and infinity, among the logits make s NaN.
template <class T, int N>
RORA_DEVICE RowSums row_sums(const T* x, int64_t vocabulary, double* memory) {
  // Not -infinity, from which that of a logit could not be subtracted.
  float maximum = -FLT_MAX, sum = 0.0f;
  for (int64_t f = threadIdx.x * N; f < vocabulary; f += blockDim.x * N) {
    float v[N], larger = maximum;
    load(x + f, vocabulary - f, v);
    for (int i = 0; i < N; ++i) {
      if (f + i >= vocabulary) v[i] = -INFINITY;
      larger = fmaxf(larger, v[i]);
    }
    sum *= exponential(x, maximum - larger);
    for (int i = 0; i < N; ++i) sum += exponential(x, v[i] - larger);
    maximum = larger;
  }
  const float largest = block_max(maximum, reinterpret_cast<float*>(memory));
  return {largest, block_sum(double(sum * exponential(x, maximum - largest)), memory)};
}

// logits = e^(logits - maximum) factor, less `share` at the label.
template <class T, int N>
RORA_DEVICE void write_gradient(T* x, int64_t vocabulary, float maximum, float factor,
                                int64_t label, float share) {
  for (int64_t f = threadIdx.x * N; f < vocabulary; f += blockDim.x * N) {
    float v[N];
    load(x + f, vocabulary - f, v);
    for (int i = 0; i < N; ++i) {
      v[i] = exponential(x, v[i] - maximum) * factor;
      if (f + i == label) v[i] -= share;
    }
    store(x + f, vocabulary - f, v);
  }
}

template <class T, int N>
RORA_DEVICE void write_zeros(T* x, int64_t vocabulary) {
  const float zeros[N] = {};
  for (int64_t f = threadIdx.x * N; f < vocabulary; f += blockDim.x * N)
    store(x + f, vocabulary - f, zeros);
}

template <class T>
RORA_DEVICE void write_loss(const CrossEntropy<T>& op, double loss) {
  op.row_losses[blockIdx.x] = loss;
  if (op.token_loss) op.token_loss[blockIdx.x] = float(loss);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) cross_entropy_kernel(CrossEntropy<T> op) {
  double* memory = shared_memory<double>();
  T* x = op.logits + blockIdx.x * op.pitch;
  const int64_t label = op.labels[blockIdx.x];
  if (label < 0) {
    if (threadIdx.x == 0) write_loss(op, 0.0);
    if (op.gradient) write_zeros<T, N>(x, op.vocabulary);
    return;
  }
  const RowSums row = row_sums<T, N>(x, op.vocabulary, memory);
  if (threadIdx.x == 0) {
    write_loss(op, double(row.maximum) + log(row.sum) - double(widen(x[label])));
    memory[0] = 1.0 / (row.sum * op.divisor);
  }
  if (!op.gradient) return;
  block_sync();  // the factor is there, and nobody still needs the label's logit
  write_gradient<T, N>(x, op.vocabulary, row.maximum, float(memory[0]), label,
                       float(1.0 / op.divisor));
}

template <class T>
__global__ void __launch_bounds__(kSumThreads) loss_sum_kernel(CrossEntropy<T> op) {
  double* memory = shared_memory<double>();
  double sum = 0;
  for (int64_t t = threadIdx.x; t < op.rows; t += kSumThreads) sum += op.row_losses[t];
  sum = block_sum(sum, memory);
  if (threadIdx.x == 0) *op.loss_sum += sum;
}

template <class T, int N>
const char* launch_rows(Stream stream, const CrossEntropy<T>& op) {
  return launch(cross_entropy_kernel<T, N>, {uint32_t(op.rows)},
                block_for(blocks_of(op.vocabulary, N), kThreads), kThreads / kWarp * sizeof(double),
                stream, op);
}

}  // namespace

template <class T>
const char* cross_entropy(Stream stream, const CrossEntropy<T>& op) {
  if (op.rows == 0) return "";
  const char* error = packs_fit(op.logits, op.pitch) ? launch_rows<T, kPack<T>>(stream, op)
                                                     : launch_rows<T, 1>(stream, op);
  if (*error) return error;
  return launch(loss_sum_kernel<T>, {}, kSumThreads, kSumThreads / kWarp * sizeof(double), stream,
                op);
}

template const char* cross_entropy(Stream, const CrossEntropy<float>&);
template const char* cross_entropy(Stream, const CrossEntropy<bf16>&);

}  // namespace rora::cuda
