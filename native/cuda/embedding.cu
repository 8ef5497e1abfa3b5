// Embedding:  y[t] = table[ids[t]];  gradient[ids[t]] += dy[t]. Reference:
// cpu/reference/embedding.cpp.
#include "cuda/embedding.h"

#include "cuda/rows.h"

namespace rora::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;
// Addresses are made with blockDim.x: from a power of two the compiler makes ors of their sums, and
// then four stores of one of 16 bytes.

// A block owns 256 packs of one token, a thread one of them: 16 bytes of the wider of the two
// types. Traffic: a row of the table and of y for each token. No shared memory.
template <class Table, class T, int N>
__global__ void __launch_bounds__(kThreads)
    embedding_forward_kernel(EmbeddingForward<Table, T> op) {
  const int64_t f = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * N, rest = op.width - f;
  if (rest <= 0) return;
  float v[N];
  load(op.table + op.ids[blockIdx.x] * op.table_pitch + f, rest, v);
  store(op.y + blockIdx.x * op.y_pitch + f, rest, v);
}

// One bit for each lane in which `condition` is true, the same in all lanes.
RORA_DEVICE uint32_t lanes_where(bool condition) {
  uint32_t bits = condition ? 1u << threadIdx.x % kWarp : 0u;
  for (int mask = kWarp / 2; mask > 0; mask /= 2) bits |= shuffle_xor(bits, mask);
  return bits;
}

//   ids | a b a c b a ... |    The block of the first token with an id adds the gradients of all
//         ^ ^   ^              tokens with it to the table's row, in their order; the other blocks
//         blocks that work     find an earlier token and end.
//
// The ids are searched 256 at a time: each thread compares one, and each warp's 32 results become a
// word in shared memory (32 bytes) that all threads go through. A thread keeps one pack of the row.
// Traffic: dy and the rows of the table that occur, in and out, once; besides, tokens^2 ids at
// most for each 256 packs, from the cache (268 MB of them for 8192 tokens).
template <class T, int N>
__global__ void __launch_bounds__(kThreads) embedding_backward_kernel(EmbeddingBackward<T> op) {
  uint32_t* words = shared_memory<uint32_t>();  // [kWarps]
  const int64_t f = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * N, rest = op.width - f;
  const int64_t own = blockIdx.x;
  const int32_t id = op.ids[own];
  float* target = op.gradient + id * op.gradient_pitch + f;
  float sum[N] = {};
  for (int64_t first = 0; first < op.tokens; first += kThreads) {
    const int64_t t = first + threadIdx.x;
    const uint32_t bits = lanes_where(t < op.tokens && op.ids[t] == id);
    if (threadIdx.x % kWarp == 0) words[threadIdx.x / kWarp] = bits;
    block_sync();
    for (int warp = 0; warp < kWarps; ++warp) {
      for (uint32_t found = words[warp]; found != 0; found &= found - 1) {
        const int64_t token = first + warp * kWarp + lowest_bit(found);
        if (token < own) return;  // all threads see the same
        if (token == own) load(target, rest, sum);
        float v[N];
        load(op.dy + token * op.dy_pitch + f, rest, v);
        for (int i = 0; i < N; ++i) sum[i] += v[i];
      }
    }
    block_sync();
  }
  store(target, rest, sum);
}

template <class Table, class T, int N>
const char* forward(Stream stream, const EmbeddingForward<Table, T>& op) {
  return launch(embedding_forward_kernel<Table, T, N>,
                {uint32_t(op.tokens), uint32_t(blocks_of(op.width, kThreads * N))}, kThreads, 0,
                stream, op);
}

template <class T, int N>
const char* backward(Stream stream, const EmbeddingBackward<T>& op) {
  return launch(embedding_backward_kernel<T, N>,
                {uint32_t(op.tokens), uint32_t(blocks_of(op.width, kThreads * N))}, kThreads,
                kWarps * sizeof(uint32_t), stream, op);
}

}  // namespace

template <class Table, class T>
const char* embedding_forward(Stream stream, const EmbeddingForward<Table, T>& op) {
  if (op.tokens == 0) return "";
  constexpr int N = kPack<Table> < kPack<T> ? kPack<Table> : kPack<T>;
  return packs_fit(op.table, op.table_pitch) && packs_fit(op.y, op.y_pitch)
             ? forward<Table, T, N>(stream, op)
             : forward<Table, T, 1>(stream, op);
}

template <class T>
const char* embedding_backward(Stream stream, const EmbeddingBackward<T>& op) {
  if (op.tokens == 0) return "";
  // The gradient's floats fill 16 bytes.
  return packs_fit(op.dy, op.dy_pitch) && packs_fit(op.gradient, op.gradient_pitch)
             ? backward<T, kPack<float>>(stream, op)
             : backward<T, 1>(stream, op);
}

template const char* embedding_forward(Stream, const EmbeddingForward<float, float>&);
template const char* embedding_forward(Stream, const EmbeddingForward<float, bf16>&);
template const char* embedding_forward(Stream, const EmbeddingForward<bf16, float>&);
template const char* embedding_forward(Stream, const EmbeddingForward<bf16, bf16>&);
template const char* embedding_backward(Stream, const EmbeddingBackward<float>&);
template const char* embedding_backward(Stream, const EmbeddingBackward<bf16>&);

}  // namespace rora::cuda
