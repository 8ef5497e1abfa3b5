// What the CUDA kernels are written in: CUDA C++ and, for everything that C++ has no word for, the
// functions below. nvcc sees their PTX; any other compiler sees bodies over the SIMT emulation
// (native/tests/simt), so that every kernel also runs, and is tested, without a GPU.
//
// Shared memory is dynamic alone: one struct or array per kernel, asked for by shared_memory<T>().
// All functions marked "warp" are called by all 32 lanes of a warp together.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define RORA_DEVICE __device__ __forceinline__
// Before a loop of constant length over arrays that must be registers.
#define RORA_UNROLL _Pragma("unroll")
// Before a loop of which so many rounds stand in a row, and no more: for registers' sake.
#define RORA_PRAGMA(text) _Pragma(#text)
#define RORA_UNROLL_BY(rounds) RORA_PRAGMA(unroll rounds)
#else
#include "tests/simt/cuda_words.h"  // __global__, threadIdx, blockIdx, __syncthreads() ...
#define RORA_DEVICE inline
#define RORA_UNROLL
#define RORA_UNROLL_BY(rounds)
#endif

namespace rora::cuda {

constexpr int kWarp = 32;
constexpr uint32_t kAllLanes = 0xffffffffu;

// bf16 as its bits.
using bf16 = uint16_t;

RORA_DEVICE float widen(bf16 bits) {
  const uint32_t word = uint32_t(bits) << 16;
  float value;
  memcpy(&value, &word, sizeof value);
  return value;
}
RORA_DEVICE float widen(float value) { return value; }

#if defined(__CUDACC__)

// The start of the block's dynamic shared memory, aligned to 128 bytes.
template <class T>
RORA_DEVICE T* shared_memory() {
  extern __shared__ __align__(128) unsigned char rora_shared_memory[];
  return reinterpret_cast<T*>(rora_shared_memory);
}

// Two floats rounded to nearest even: `low` in bits 0..15.
RORA_DEVICE uint32_t round_pair(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}

// 2^x, 1 / x and 1 / sqrt(x), good to 2 units in the last place; denormal results are 0.
RORA_DEVICE float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
RORA_DEVICE float fast_reciprocal(float x) {
  float y;
  asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
RORA_DEVICE float fast_rsqrt(float x) {
  float y;
  asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

// a * b rounded by itself: never fused with a sum.
RORA_DEVICE float rounded_product(float a, float b) { return __fmul_rn(a, b); }

// The number of the lowest bit that is set; `bits` is not 0.
RORA_DEVICE int lowest_bit(uint32_t bits) { return __ffs(int(bits)) - 1; }

RORA_DEVICE uint32_t shared_address(const void* shared) {
  return uint32_t(__cvta_generic_to_shared(shared));
}

// Copies 16 bytes, both ends aligned to 16, from global to shared memory; zeros instead if not
// `valid`, when `global` is not read but must still be some address in global memory. The bytes
// may be read after a commit, a wait that covers it, and, by other threads, a barrier.
RORA_DEVICE void copy_async_16(void* shared, const void* global, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(shared)),
               "l"(__cvta_generic_to_global(global)), "r"(valid ? 16 : 0)
               : "memory");
}
// Ends a group of copies of this thread.
RORA_DEVICE void copy_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most `kPending` of this thread's groups, the newest, are not done.
template <int kPending>
RORA_DEVICE void copy_wait() {
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
}

// Warp. Four 8 x 8 matrices of bf16 pairs from shared memory; lane l gives the address of row l % 8
// of matrix l / 8, 16 bytes aligned to 16. Lane l receives of each matrix i in r[i] the elements
// (row l / 4, columns 2 (l % 4) and + 1); transposed: of its transpose.
RORA_DEVICE void load_matrices(uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(shared_row))
               : "memory");
}
RORA_DEVICE void load_matrices_transposed(uint32_t (&r)[4], const void* shared_row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(shared_row))
               : "memory");
}

// Warp. d += a b with a [16 x 16] of bf16 by rows, b [16 x 8] by columns, d [16 x 8] of floats.
// With g = lane / 4 and t = lane % 4 a lane holds
//   a[0] (g, 2t..2t+1)  a[1] (g+8, 2t..)  a[2] (g, 2t+8..)  a[3] (g+8, 2t+8..)   (row, columns)
//   b[0] (2t..2t+1, g)  b[1] (2t+8..2t+9, g)                                     (rows, column)
//   d[0..1] (g, 2t..2t+1)  d[2..3] (g+8, 2t..2t+1)
RORA_DEVICE void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 "
      "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// Warp. The value of lane (lane ^ mask), of lane `source`.
template <class T>
RORA_DEVICE T shuffle_xor(T value, int mask) {
  return __shfl_xor_sync(kAllLanes, value, mask);
}
template <class T>
RORA_DEVICE T shuffle(T value, int source) {
  return __shfl_sync(kAllLanes, value, source);
}
// Warp. Orders shared memory accesses of the lanes.
RORA_DEVICE void warp_sync() { __syncwarp(); }
// All threads of the block.
RORA_DEVICE void block_sync() { __syncthreads(); }

#else

template <class T>
inline T* shared_memory() {
  return static_cast<T*>(simt::shared_memory());
}
inline uint32_t round_pair(float low, float high) { return simt::round_pair(low, high); }
inline float fast_exp2(float x) { return simt::fast_exp2(x); }
inline float fast_reciprocal(float x) { return 1.0f / x; }
inline float rounded_product(float a, float b) { return a * b; }  // built without contraction
inline float fast_rsqrt(float x) { return simt::fast_rsqrt(x); }
inline int lowest_bit(uint32_t bits) { return __builtin_ctz(bits); }
inline void copy_async_16(void* shared, const void* global, bool valid) {
  simt::copy_async_16(shared, global, valid);
}
inline void copy_commit() { simt::copy_commit(); }
template <int kPending>
inline void copy_wait() {
  simt::copy_wait(kPending);
}
inline void load_matrices(uint32_t (&r)[4], const void* shared_row) {
  simt::load_matrices(r, shared_row, false);
}
inline void load_matrices_transposed(uint32_t (&r)[4], const void* shared_row) {
  simt::load_matrices(r, shared_row, true);
}
inline void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  simt::multiply_add(d, a, b0, b1);
}
template <class T>
inline T shuffle_xor(T value, int mask) {
  return simt::shuffle(value, simt::lane() ^ mask);
}
template <class T>
inline T shuffle(T value, int source) {
  return simt::shuffle(value, source);
}
inline void warp_sync() { simt::warp_sync(); }
inline void block_sync() { simt::block_sync(); }

#endif

// Warp. The sum (largest) of all lanes' values, the same bits in each.
RORA_DEVICE float warp_sum(float value) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}
RORA_DEVICE float warp_max(float value) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    const float other = shuffle_xor(value, mask);
    value = value > other ? value : other;
  }
  return value;
}

RORA_DEVICE bf16 round_one(float value) { return bf16(round_pair(value, 0.0f) & 0xffffu); }

}  // namespace rora::cuda
