// SwiGLU (arXiv:2002.05202):
//   y = g s u,  s = sigmoid(g);  du = dy g s,  dg = dy u s (1 + g (1 - s)).
//
//                   256 packs of 16 bytes
//   token | ppppp... | ppppp... |    A block owns 256 packs of one token, a thread one of them.
//
// Traffic: each operand once, so 3 elements a feature forwards and 5 backwards. No shared memory.
// Reference: cpu/reference/swiglu.cpp.
#include "cuda/swiglu.h"

#include "cuda/rows.h"

namespace rora::cuda {
namespace {

constexpr int kThreads = 256;

// 1 / (1 + e^-g). For bf16 e^x is good to (2 + |x|) 2^-23 of itself, far below that type's 2^-8,
// at a third of the instructions: exact functions would cost as much time as the traffic.
RORA_DEVICE float sigmoid(const float*, float g) { return 1.0f / (1.0f + expf(-g)); }
RORA_DEVICE float sigmoid(const bf16*, float g) {
  return fast_reciprocal(1.0f + fast_exp2(g * -1.44269504f));
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) swiglu_forward_kernel(SwigluForward<T> op) {
  const int64_t t = blockIdx.x, f = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  if (f >= op.width) return;
  float g[N], u[N];
  load(op.gate + t * op.pitch + f, op.width - f, g);
  load(op.up + t * op.pitch + f, op.width - f, u);
  for (int i = 0; i < N; ++i) u[i] *= g[i] * sigmoid(op.gate, g[i]);
  store(op.y + t * op.y_pitch + f, op.width - f, u);
}

template <class T, int N>
__global__ void __launch_bounds__(kThreads) swiglu_backward_kernel(SwigluBackward<T> op) {
  const int64_t t = blockIdx.x, f = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * N;
  if (f >= op.width) return;
  float g[N], u[N], dy[N];
  load(op.gate + t * op.pitch + f, op.width - f, g);
  load(op.up + t * op.pitch + f, op.width - f, u);
  load(op.dy + t * op.dy_pitch + f, op.width - f, dy);
  for (int i = 0; i < N; ++i) {
    const float s = sigmoid(op.gate, g[i]), silu = g[i] * s;
    g[i] = dy[i] * u[i] * s * (1.0f + g[i] * (1.0f - s));
    u[i] = dy[i] * silu;
  }
  store(op.d_gate + t * op.d_pitch + f, op.width - f, g);
  store(op.d_up + t * op.d_pitch + f, op.width - f, u);
}

template <class Op, int N>
const char* launch_packs(void (*kernel)(Op), Stream stream, const Op& op) {
  const int64_t packs = blocks_of(op.width, N);
  const uint32_t threads = block_for(packs, kThreads);
  return launch(kernel, {uint32_t(op.tokens), uint32_t(blocks_of(packs, threads))}, threads, 0,
                stream, op);
}

}  // namespace

template <class T>
const char* swiglu_forward(Stream stream, const SwigluForward<T>& op) {
  if (op.tokens == 0) return "";
  using Op = SwigluForward<T>;
  if (packs_fit(op.gate, op.pitch) && packs_fit(op.up, op.pitch) && packs_fit(op.y, op.y_pitch))
    return launch_packs<Op, kPack<T>>(swiglu_forward_kernel<T, kPack<T>>, stream, op);
  return launch_packs<Op, 1>(swiglu_forward_kernel<T, 1>, stream, op);
}

template <class T>
const char* swiglu_backward(Stream stream, const SwigluBackward<T>& op) {
  if (op.tokens == 0) return "";
  using Op = SwigluBackward<T>;
  if (packs_fit(op.gate, op.pitch) && packs_fit(op.up, op.pitch) && packs_fit(op.dy, op.dy_pitch) &&
      packs_fit(op.d_gate, op.d_pitch) && packs_fit(op.d_up, op.d_pitch))
    return launch_packs<Op, kPack<T>>(swiglu_backward_kernel<T, kPack<T>>, stream, op);
  return launch_packs<Op, 1>(swiglu_backward_kernel<T, 1>, stream, op);
}

template const char* swiglu_forward(Stream, const SwigluForward<float>&);
template const char* swiglu_forward(Stream, const SwigluForward<bf16>&);
template const char* swiglu_backward(Stream, const SwigluBackward<float>&);
template const char* swiglu_backward(Stream, const SwigluBackward<bf16>&);

}  // namespace rora::cuda
