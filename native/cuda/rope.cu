// Rotary embedding (arXiv:2104.09864, sec. 3.4.2) in the pairing of transformers' rotate_half:
//   (a, b) -> (a cos - b sin, b cos + a sin)  for features i and i + head_dim / 2.
// The inverse turns the sign of sin.
//
//           head 0              head 1
//   | aaaaaaaa bbbbbbbb | aaaaaaaa bbbbbbbb | ...    A block owns a token; a thread takes a pack of
//      thread 0 ...          thread p ...            16 bytes of a and its b, p packs to a head.
//
// Traffic: the heads once in and once out; a token's angles, head_dim floats, come once from memory
// and then from the cache. No shared memory. Reference: cpu/reference/rope.cpp.
#include "cuda/rope.h"

#include "cuda/rows.h"

namespace rora::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, int N>
__global__ void __launch_bounds__(kThreads) rope_kernel(Rope<T> op) {
  const int half = int(op.head_dim) / 2, packs = half / N, work = int(op.heads) * packs;
  T* x = op.x + blockIdx.x * op.pitch;
  const int64_t angles = int64_t(op.positions[blockIdx.x]) * half;
  const float sign = op.inverse ? -1.0f : 1.0f;
  for (int item = int(threadIdx.x); item < work; item += int(blockDim.x)) {
    const int head = item / packs, i = (item - head * packs) * N;
    T* target = x + head * op.head_dim + i;
    float a[N], b[N], cosine[N], sine[N];
    load(target, N, a);
    load(target + half, N, b);
    load(op.cosines + angles + i, N, cosine);
    load(op.sines + angles + i, N, sine);
    for (int j = 0; j < N; ++j) {
      const float s = sign * sine[j], low = a[j];
      a[j] = low * cosine[j] - b[j] * s;
      b[j] = b[j] * cosine[j] + low * s;
    }
    store(target, N, a);
    store(target + half, N, b);
  }
}

template <class T, int N>
const char* launch_packs(Stream stream, const Rope<T>& op) {
  return launch(rope_kernel<T, N>, {uint32_t(op.tokens)},
                block_for(op.heads * op.head_dim / 2 / N, kThreads), 0, stream, op);
}

}  // namespace

template <class T>
const char* rope(Stream stream, const Rope<T>& op) {
  if (op.tokens == 0 || op.heads == 0) return "";
  // Both halves of every head, and their angles, must be aligned.
  const int64_t half = op.head_dim / 2;
  const bool packs = half % kPack<T> == 0 && packs_fit(op.x, op.pitch) &&
                     packs_fit(op.cosines, half) && packs_fit(op.sines, half);
  return packs ? launch_packs<T, kPack<T>>(stream, op) : launch_packs<T, 1>(stream, op);
}

template const char* rope(Stream, const Rope<float>&);
template const char* rope(Stream, const Rope<bf16>&);

}  // namespace rora::cuda
