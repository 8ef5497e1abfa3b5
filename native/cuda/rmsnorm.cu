// RMSNorm (arXiv:1910.07467):  y = x r w,  r = 1 / sqrt(mean(x^2) + eps), and
//   dx += r (w o dy - x r^2 mean(x o w o dy)),  dw += sum over tokens of dy o x r.
// With bf16, x r is rounded before the product with w, as transformers does. Reference:
// cpu/reference/rmsnorm.cpp.
//
//    x | row of one token |   A block owns a row: its threads take packs of 16 bytes in turn, sum,
//      |ppppppppp...      |   meet, and take the same packs again, which the cache still holds.
//
// Both kernels move each operand once between memory and the chip: 2 elements a feature forwards,
// 4 backwards. Shared memory: 128 bytes.
#include "cuda/rmsnorm.h"

#include "cuda/rows.h"

namespace rora::cuda {
namespace {

constexpr int kThreads = 256;
// dw: tokens that a block sums, a row of the first stage's result for each so many.
constexpr int kStripe = 128;

// r of a row for all threads of a block.
RORA_DEVICE float inverse_rms(float squares, int64_t width, float eps) {
  return 1.0f / sqrtf(squares / float(width) + eps);
}

template <class T, int N>
RORA_DEVICE float thread_squares(const T* x, int64_t width) {
  float sum = 0.0f;
  for (int64_t f = threadIdx.x * N; f < width; f += blockDim.x * N) {
    float v[N];
    load(x + f, width - f, v);
    for (int i = 0; i < N; ++i) sum += v[i] * v[i];
  }
  return sum;
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) rmsnorm_forward_kernel(RmsNormForward<T> op) {
  float* memory = shared_memory<float>();
  const T* x = op.x + blockIdx.x * op.x_pitch;
  T* y = op.y + blockIdx.x * op.y_pitch;
  const float squares = block_sum(thread_squares<T, N>(x, op.width), memory);
  const float r = inverse_rms(squares, op.width, op.eps);
  for (int64_t f = threadIdx.x * N; f < op.width; f += blockDim.x * N) {
    float v[N], w[N];
    load(x + f, op.width - f, v);
    load(op.weight + f, op.width - f, w);
    for (int i = 0; i < N; ++i) v[i] = as_stored(x, v[i] * r) * w[i];
    store(y + f, op.width - f, v);
  }
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) rmsnorm_backward_kernel(RmsNormBackward<T> op) {
  float* memory = shared_memory<float>();
  const T* x = op.x + blockIdx.x * op.x_pitch;
  const T* dy = op.dy + blockIdx.x * op.dy_pitch;
  T* dx = op.dx + blockIdx.x * op.dx_pitch;
  float squares = 0.0f, products = 0.0f;
  for (int64_t f = threadIdx.x * N; f < op.width; f += blockDim.x * N) {
    float v[N], w[N], d[N];
    load(x + f, op.width - f, v);
    load(op.weight + f, op.width - f, w);
    load(dy + f, op.width - f, d);
    for (int i = 0; i < N; ++i) {
      squares += v[i] * v[i];
      products += v[i] * w[i] * d[i];
    }
  }
  const float r = inverse_rms(block_sum(squares, memory), op.width, op.eps);
  const float inner = r * r * (block_sum(products, memory) / float(op.width));
  for (int64_t f = threadIdx.x * N; f < op.width; f += blockDim.x * N) {
    float v[N], w[N], d[N], sum[N];
    load(x + f, op.width - f, v);
    load(op.weight + f, op.width - f, w);
    load(dy + f, op.width - f, d);
    load(dx + f, op.width - f, sum);
    for (int i = 0; i < N; ++i) sum[i] += r * (w[i] * d[i] - v[i] * inner);
    store(dx + f, op.width - f, sum);
  }
  if (op.weight_gradient && threadIdx.x == 0) op.workspace[blockIdx.x] = r;
}

// The workspace: r of each token, then one row of sums for each stripe of tokens.
constexpr int64_t kAligned = 4;  // floats in 16 bytes
int64_t round_up(int64_t n, int64_t multiple) { return blocks_of(n, multiple) * multiple; }

template <class T>
struct StripeSums {
  RmsNormBackward<T> op;
  const float* r;
  float* sums;  // [stripes, pitch]
  int64_t pitch, stripes;
};

// First stage of dw:  sums[s, f] = sum over the tokens t of stripe s of dy[t, f] x[t, f] r[t].
//
//             32 N features
//   warp 0 | t = 0, 8, 16 ...  |   A block owns a stripe of 128 tokens and the features of a warp;
//   warp 1 | t = 1, 9, 17 ...  |   each warp sums every 8th token in registers, and the 8 sums are
//   ...                            added up in the order of the warps.
//
// Traffic: x and dy once; the sums are 1 / 32 of them. Shared memory: 1 KB N.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) rmsnorm_stripe_kernel(StripeSums<T> stage) {
  float* memory = shared_memory<float>();  // [warps][32 N]
  const RmsNormBackward<T>& op = stage.op;
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int64_t f = (int64_t(blockIdx.y) * kWarp + lane) * N;
  const int64_t first = int64_t(blockIdx.x) * kStripe;
  const int64_t last = first + kStripe < op.tokens ? first + kStripe : op.tokens;
  float sum[N] = {};
  for (int64_t t = first + warp; t < last; t += kThreads / kWarp) {
    const float r = stage.r[t];
    float v[N], d[N];
    load(op.x + t * op.x_pitch + f, op.width - f, v);
    load(op.dy + t * op.dy_pitch + f, op.width - f, d);
    for (int i = 0; i < N; ++i) sum[i] += d[i] * as_stored(op.x, v[i] * r);
  }
  for (int i = 0; i < N; ++i) memory[(warp * N + i) * kWarp + lane] = sum[i];
  block_sync();
  if (warp > 0) return;
  for (int i = 0; i < N; ++i)
    for (int w = 1; w < kThreads / kWarp; ++w) sum[i] += memory[(w * N + i) * kWarp + lane];
  store(stage.sums + blockIdx.x * stage.pitch + f, op.width - f, sum);
}

// Second stage:  weight_gradient[f] += sum over the stripes, in their order. Traffic: the sums.
template <class T>
__global__ void __launch_bounds__(kThreads) rmsnorm_stripes_sum_kernel(StripeSums<T> stage) {
  const int64_t f = int64_t(blockIdx.x) * kThreads + threadIdx.x;
  if (f >= stage.op.width) return;
  float sum = 0.0f;
  for (int64_t s = 0; s < stage.stripes; ++s) sum += stage.sums[s * stage.pitch + f];
  stage.op.weight_gradient[f] += sum;
}

template <class T, int N>
const char* forward(Stream stream, const RmsNormForward<T>& op) {
  return launch(rmsnorm_forward_kernel<T, N>, {uint32_t(op.tokens)},
                block_for(blocks_of(op.width, N), kThreads), kThreads / kWarp * sizeof(float),
                stream, op);
}

template <class T, int N>
const char* backward(Stream stream, const RmsNormBackward<T>& op) {
  const char* error = launch(rmsnorm_backward_kernel<T, N>, {uint32_t(op.tokens)},
                             block_for(blocks_of(op.width, N), kThreads),
                             kThreads / kWarp * sizeof(float), stream, op);
  if (*error || !op.weight_gradient) return error;
  const StripeSums<T> stage = {op, op.workspace, op.workspace + round_up(op.tokens, kAligned),
                               round_up(op.width, kAligned), blocks_of(op.tokens, kStripe)};
  error = launch(rmsnorm_stripe_kernel<T, N>,
                 {uint32_t(stage.stripes), uint32_t(blocks_of(op.width, kWarp * N))}, kThreads,
                 kThreads * N * sizeof(float), stream, stage);
  if (*error) return error;
  return launch(rmsnorm_stripes_sum_kernel<T>, {uint32_t(blocks_of(op.width, kThreads))}, kThreads,
                0, stream, stage);
}

}  // namespace

int64_t rmsnorm_workspace(int64_t tokens, int64_t width) {
  return round_up(tokens, kAligned) + blocks_of(tokens, kStripe) * round_up(width, kAligned);
}

template <class T>
const char* rmsnorm_forward(Stream stream, const RmsNormForward<T>& op) {
  if (op.tokens == 0) return "";
  const bool packs =
      packs_fit(op.x, op.x_pitch) && packs_fit(op.y, op.y_pitch) && packs_fit(op.weight, 0);
  return packs ? forward<T, kPack<T>>(stream, op) : forward<T, 1>(stream, op);
}

template <class T>
const char* rmsnorm_backward(Stream stream, const RmsNormBackward<T>& op) {
  if (op.tokens == 0) return "";
  const bool packs = packs_fit(op.x, op.x_pitch) && packs_fit(op.dy, op.dy_pitch) &&
                     packs_fit(op.dx, op.dx_pitch) && packs_fit(op.weight, 0);
  return packs ? backward<T, kPack<T>>(stream, op) : backward<T, 1>(stream, op);
}

template const char* rmsnorm_forward(Stream, const RmsNormForward<float>&);
template const char* rmsnorm_forward(Stream, const RmsNormForward<bf16>&);
template const char* rmsnorm_backward(Stream, const RmsNormBackward<float>&);
template const char* rmsnorm_backward(Stream, const RmsNormBackward<bf16>&);

}  // namespace rora::cuda
