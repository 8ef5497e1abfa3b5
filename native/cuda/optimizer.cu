// AdamW (arXiv:1711.05101, algorithm 2) as torch.optim.AdamW orders its float32 operations, sums of
// squares and clipping. Reference: cpu/reference/optimizer.cpp.
#include "cuda/optimizer.h"

#include <cmath>

#include "cuda/rows.h"

namespace rora::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFloats = kPack<float>;

// Scalars are combined in double and rounded once.
struct AdamwArrays {
  float decay, weight1, beta2, weight2, root_correction2, step_size, epsilon;
  double gradient_scale;
  const double* clip_factor;
  int64_t count;
  float *values, *gradients, *first_moments, *second_moments;
  bf16* copies;
};

AdamwArrays adamw_arrays(const Adamw& op) {
  const double correction1 = 1 - std::pow(op.beta1, double(op.step));
  const double correction2 = 1 - std::pow(op.beta2, double(op.step));
  return {float(1 - op.learning_rate * op.weight_decay),
          float(1 - op.beta1),
          float(op.beta2),
          float(1 - op.beta2),
          float(std::sqrt(correction2)),
          float(op.learning_rate / correction1),
          float(op.epsilon),
          op.gradient_scale,
          op.clip_factor,
          op.count,
          op.values,
          op.gradients,
          op.first_moments,
          op.second_moments,
          op.copies};
}

//   m = m + (1 - beta1) (g - m),  v = v beta2 + (1 - beta2) g g,
//   value = value decay - step_size m / (sqrt(v) / root_correction2 + epsilon)
//
// A thread takes N neighbouring elements of each array. Traffic: 4 floats in and 4 out for each
// parameter, and its bf16 copy. No shared memory.
template <int N>
__global__ void __launch_bounds__(kThreads) adamw_kernel(AdamwArrays op) {
  const int64_t at = (int64_t(blockIdx.x) * kThreads + threadIdx.x) * N, rest = op.count - at;
  if (rest <= 0) return;
  const double clip = op.clip_factor ? *op.clip_factor : 1.0;
  const float scale = float(op.gradient_scale * clip);
  float value[N], gradient[N], first[N], second[N];
  load(op.values + at, rest, value);
  load(op.gradients + at, rest, gradient);
  load(op.first_moments + at, rest, first);
  load(op.second_moments + at, rest, second);
  for (int i = 0; i < N; ++i) {
    const float g = rounded_product(gradient[i], scale);
    const float m = first[i] + rounded_product(op.weight1, g - first[i]);
    const float v =
        rounded_product(second[i], op.beta2) + rounded_product(rounded_product(op.weight2, g), g);
    const float denominator = sqrtf(v) / op.root_correction2 + op.epsilon;
    value[i] = rounded_product(value[i], op.decay) - rounded_product(op.step_size, m) / denominator;
    first[i] = m;
    second[i] = v;
    gradient[i] = 0.0f;
  }
  store(op.values + at, rest, value);
  store(op.gradients + at, rest, gradient);
  store(op.first_moments + at, rest, first);
  store(op.second_moments + at, rest, second);
  if (op.copies) store(op.copies + at, rest, value);
}

template <int N>
const char* launch_adamw(Stream stream, const Adamw& op) {
  return launch(adamw_kernel<N>, {uint32_t(blocks_of(op.count, kThreads * N))}, kThreads, 0, stream,
                adamw_arrays(op));
}

// Floats that a block of the first stage sums.
constexpr int64_t kStretch = kThreads * kFloats * 8;

// A block sums a stretch of 8192 floats: its threads take packs in turn, then meet. Traffic: the
// floats once. Shared memory: 64 bytes. Doubles cost a consumer GPU (a 64th of the rate of floats)
// about as long as the traffic.
template <int N>
__global__ void __launch_bounds__(kThreads) squares_kernel(SumOfSquares op) {
  double* memory = shared_memory<double>();
  const int64_t first = int64_t(blockIdx.x) * kStretch;
  const int64_t last = first + kStretch < op.count ? first + kStretch : op.count;
  double sum = 0;
  for (int64_t at = first + int64_t(threadIdx.x) * N; at < last; at += kThreads * N) {
    float v[N];
    load(op.values + at, last - at, v);
    for (int i = 0; i < N; ++i) sum += double(v[i]) * double(v[i]);
  }
  sum = block_sum(sum, memory);
  if (threadIdx.x == 0) op.workspace[blockIdx.x] = sum;
}

// The second stage, one block: the sum of the stretches.
__global__ void __launch_bounds__(kThreads) stretches_kernel(SumOfSquares op) {
  double* memory = shared_memory<double>();
  const int64_t stretches = (op.count + kStretch - 1) / kStretch;
  double sum = 0;
  for (int64_t i = threadIdx.x; i < stretches; i += kThreads) sum += op.workspace[i];
  sum = block_sum(sum, memory);
  if (threadIdx.x == 0) *op.sum = sum;
}

__global__ void __launch_bounds__(kWarp) clip_kernel(ClipFactor op) {
  if (threadIdx.x > 0) return;
  const double factor = op.max_norm == 0 ? 1.0 : op.max_norm / (sqrt(*op.sum_of_squares) + 1e-6);
  *op.factor = factor >= 1 ? 1.0 : factor;
}

constexpr uint32_t kSumBytes = kThreads / kWarp * sizeof(double);

}  // namespace

int64_t sum_of_squares_workspace(int64_t count) { return blocks_of(count, kStretch); }

const char* adamw(Stream stream, const Adamw& op) {
  if (op.count == 0) return "";
  const bool packs = packs_fit(op.values, 0) && packs_fit(op.gradients, 0) &&
                     packs_fit(op.first_moments, 0) && packs_fit(op.second_moments, 0) &&
                     packs_fit(op.copies, 0);
  return packs ? launch_adamw<kFloats>(stream, op) : launch_adamw<1>(stream, op);
}

const char* sum_of_squares(Stream stream, const SumOfSquares& op) {
  if (op.count > 0) {
    const Grid grid = {uint32_t(blocks_of(op.count, kStretch))};
    const char* error =
        launch(packs_fit(op.values, 0) ? squares_kernel<kFloats> : squares_kernel<1>, grid,
               kThreads, kSumBytes, stream, op);
    if (*error) return error;
  }
  return launch(stretches_kernel, {}, kThreads, kSumBytes, stream, op);
}

const char* clip_factor(Stream stream, const ClipFactor& op) {
  return launch(clip_kernel, {}, kWarp, 0, stream, op);
}

}  // namespace rora::cuda
