// What the kernels over rows share: reading and writing a few neighbouring elements at once, as
// floats, and sums over a block.
#pragma once

#include "cuda/device.h"

namespace rora::cuda {

// Elements of 16 bytes of T: what a thread takes at a time from rows that are aligned to it.
template <class T>
constexpr int kPack = 16 / int(sizeof(T));

template <int kBytes>
struct __attribute__((may_alias, aligned(kBytes))) Bytes {
  uint32_t word[kBytes / 4];
};

// Reads and writes in one instruction, which the compiler does not always make of a copy's words.
#if defined(__CUDACC__)
RORA_DEVICE Bytes<16> read_bytes(const Bytes<16>* from) {
  const uint4 w = *reinterpret_cast<const uint4*>(from);
  return {{w.x, w.y, w.z, w.w}};
}
RORA_DEVICE Bytes<8> read_bytes(const Bytes<8>* from) {
  const uint2 w = *reinterpret_cast<const uint2*>(from);
  return {{w.x, w.y}};
}
RORA_DEVICE Bytes<4> read_bytes(const Bytes<4>* from) { return *from; }
RORA_DEVICE void write_bytes(Bytes<16>* to, const Bytes<16>& b) {
  *reinterpret_cast<uint4*>(to) = make_uint4(b.word[0], b.word[1], b.word[2], b.word[3]);
}
RORA_DEVICE void write_bytes(Bytes<8>* to, const Bytes<8>& b) {
  *reinterpret_cast<uint2*>(to) = make_uint2(b.word[0], b.word[1]);
}
RORA_DEVICE void write_bytes(Bytes<4>* to, const Bytes<4>& b) { *to = b; }
#else
template <int kBytes>
Bytes<kBytes> read_bytes(const Bytes<kBytes>* from) {
  return *from;
}
template <int kBytes>
void write_bytes(Bytes<kBytes>* to, const Bytes<kBytes>& bytes) {
  *to = bytes;
}
#endif

// v[i] = source[i], or 0 from the `valid`th on, which are not read. With N > 1 `source` is aligned
// to N elements, or to 16 bytes if they are more.
template <int N, class T>
RORA_DEVICE void load(const T* source, int64_t valid, float (&v)[N]) {
  if constexpr (N > 1) {
    constexpr int kElements = N < kPack<T> ? N : kPack<T>;
    if (valid >= N) {
      for (int j = 0; j < N; j += kElements) {
        const auto bytes =
            read_bytes(reinterpret_cast<const Bytes<kElements * sizeof(T)>*>(source + j));
        T element[kElements];
        memcpy(element, &bytes, sizeof element);
        for (int i = 0; i < kElements; ++i) v[j + i] = widen(element[i]);
      }
      return;
    }
  }
  for (int i = 0; i < N; ++i) v[i] = i < valid ? widen(source[i]) : 0.0f;
}

RORA_DEVICE void put(float& target, float value) { target = value; }
RORA_DEVICE void put(bf16& target, float value) { target = round_one(value); }

// Two words for two floats, one for two bf16.
RORA_DEVICE void put_pair(const float*, uint32_t* words, float low, float high) {
  memcpy(words, &low, sizeof low);
  memcpy(words + 1, &high, sizeof high);
}
RORA_DEVICE void put_pair(const bf16*, uint32_t* word, float low, float high) {
  *word = round_pair(low, high);
}

// target[i] = v[i] for i < valid, rounded to T; aligned as for load().
template <int N, class T>
RORA_DEVICE void store(T* target, int64_t valid, const float (&v)[N]) {
  if constexpr (N > 1) {
    constexpr int kElements = N < kPack<T> ? N : kPack<T>;
    if (valid >= N) {
      for (int j = 0; j < N; j += kElements) {
        Bytes<kElements * sizeof(T)> bytes;
        for (int i = 0; i < kElements; i += 2)
          put_pair(target, bytes.word + i * sizeof(T) / 4, v[j + i], v[j + i + 1]);
        write_bytes(reinterpret_cast<Bytes<kElements * sizeof(T)>*>(target + j), bytes);
      }
      return;
    }
  }
  for (int i = 0; i < N; ++i)
    if (i < valid) put(target[i], v[i]);
}

// The value as an array of T holds it.
RORA_DEVICE float as_stored(const float*, float value) { return value; }
RORA_DEVICE float as_stored(const bf16*, float value) { return widen(round_one(value)); }

// The sum of all threads' values, the same bits in each: of a warp's lanes as a tree, then of the
// warps in order. `memory` has room for a value of each warp; all threads have left it on return.
template <class T>
RORA_DEVICE T block_sum(T value, T* memory) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  if (threadIdx.x % kWarp == 0) memory[threadIdx.x / kWarp] = value;
  block_sync();
  T sum = 0;
  for (uint32_t warp = 0; warp < blockDim.x / kWarp; ++warp) sum += memory[warp];
  block_sync();
  return sum;
}

// Threads of a block that has `items` to share out: whole warps, no more than `most`.
inline uint32_t block_for(int64_t items, int64_t most) {
  const int64_t whole = (items + kWarp - 1) / kWarp * kWarp;
  return uint32_t(whole < kWarp ? kWarp : whole < most ? whole : most);
}

inline int64_t blocks_of(int64_t items, int64_t per_block) {
  return (items + per_block - 1) / per_block;
}

// Whether rows of T at `pointer`, `pitch` elements apart, are aligned for packs of 16 bytes.
template <class T>
bool packs_fit(const T* pointer, int64_t pitch) {
  return reinterpret_cast<uintptr_t>(pointer) % 16 == 0 && pitch % kPack<T> == 0;
}

}  // namespace rora::cuda
