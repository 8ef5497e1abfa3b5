// Vectors of the level this file is compiled for (RORA_LEVEL), by GCC's vector extensions, and
// access to the rows of token panels. Everything sits in the level's own namespace and nothing
// comes from std::, so that the linker cannot merge code compiled for one instruction set into
// another level.
#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "cpu/panel.h"
#include "cpu/philox.h"
#include "cpu/thread_pool.h"

namespace rora::RORA_LEVEL {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float vfloat __attribute__((vector_size(kLanes * 4)));
typedef int32_t vint __attribute__((vector_size(kLanes * 4)));
typedef uint32_t vuint __attribute__((vector_size(kLanes * 4)));

static inline int64_t min_of(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t max_of(int64_t a, int64_t b) { return a > b ? a : b; }
static inline int64_t blocks_of(int64_t n, int64_t block) { return (n + block - 1) / block; }

static inline vfloat load(const float* p) {
  vfloat v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
static inline vuint load_u32(const void* p) {
  vuint v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
static inline void store(float* p, vfloat v) { __builtin_memcpy(p, &v, sizeof v); }
static inline void store_u32(void* p, vuint v) { __builtin_memcpy(p, &v, sizeof v); }

static inline vfloat splat(float x) {
#if defined(__AVX512F__)
  return vfloat{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x};
#elif defined(__AVX2__)
  return vfloat{x, x, x, x, x, x, x, x};
#else
  return vfloat{x, x, x, x};
#endif
}

static inline vfloat max_of(vfloat a, vfloat b) { return a > b ? a : b; }

// The sum of the lanes, in a fixed tree: the upper half is added to the lower until one is left.
static inline float sum_lanes(vfloat v) {
  typedef float v4 __attribute__((vector_size(16)));
#if defined(__AVX512F__)
  typedef float v8 __attribute__((vector_size(32)));
  const v8 eight = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) +
                   __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const v4 four = __builtin_shufflevector(eight, eight, 0, 1, 2, 3) +
                  __builtin_shufflevector(eight, eight, 4, 5, 6, 7);
#elif defined(__AVX2__)
  const v4 four =
      __builtin_shufflevector(v, v, 0, 1, 2, 3) + __builtin_shufflevector(v, v, 4, 5, 6, 7);
#else
  const v4 four = v;
#endif
  return (four[0] + four[2]) + (four[1] + four[3]);
}

// bf16 bits in the upper half of each lane, rounded to nearest even; NaN stays NaN.
static inline vuint round_bf16(vfloat v) {
  const vuint bits = (vuint)v;
  const vuint rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const vuint quiet = bits | 0x400000u;
  return ((bits & 0x7fffffffu) > 0x7f800000u ? quiet : rounded) & 0xffff0000u;
}

// Rows 2 * pair and 2 * pair + 1 of a panel at lanes [lane, lane + kLanes).
struct RowPair {
  vfloat even, odd;
};

// The words (even, odd) as a bf16 panel has them. The instruction makes zero of numbers too small
// to be normal, as the products of pairs do.
static inline vuint pair_bits(RowPair rows) {
#if defined(__AVX512BF16__)
  typedef uint16_t vhalf __attribute__((vector_size(64)));
  const vhalf halves = (vhalf)_mm512_cvtne2ps_pbh((__m512)rows.odd, (__m512)rows.even);
  return (vuint)__builtin_shufflevector(halves, halves, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                        22, 7, 23, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14,
                                        30, 15, 31);
#else
  return (round_bf16(rows.even) >> 16) | round_bf16(rows.odd);
#endif
}

// `panel` is the panel's first element; T is float or uint16_t (the bits of bf16).
static inline RowPair load_pair(const float* panel, int64_t pair, int lane) {
  const float* p = panel + pair * 2 * kPanel + lane;
  return {load(p), load(p + kPanel)};
}
static inline RowPair load_pair(const uint16_t* panel, int64_t pair, int lane) {
  const vuint bits = load_u32(panel + pair * 2 * kPanel + lane * 2);
  return {(vfloat)(bits << 16), (vfloat)(bits & 0xffff0000u)};
}
static inline void store_pair(float* panel, int64_t pair, int lane, RowPair rows) {
  float* p = panel + pair * 2 * kPanel + lane;
  store(p, rows.even);
  store(p + kPanel, rows.odd);
}
static inline void store_pair(uint16_t* panel, int64_t pair, int lane, RowPair rows) {
  store_u32(panel + pair * 2 * kPanel + lane * 2, pair_bits(rows));
}

// One row at lanes [lane, lane + kLanes). Storing one bf16 row rewrites its pair's words: a task
// must own both rows.
static inline vfloat load_row(const float* panel, int64_t row, int lane) {
  return load(panel + row * kPanel + lane);
}
static inline vfloat load_row(const uint16_t* panel, int64_t row, int lane) {
  const vuint bits = load_u32(panel + (row >> 1) * 2 * kPanel + lane * 2);
  return (vfloat)(row & 1 ? bits & 0xffff0000u : bits << 16);
}
static inline void store_row(float* panel, int64_t row, int lane, vfloat v) {
  store(panel + row * kPanel + lane, v);
}
static inline void store_row(uint16_t* panel, int64_t row, int lane, vfloat v) {
  uint16_t* p = panel + (row >> 1) * 2 * kPanel + lane * 2;
  const vuint old = load_u32(p), bits = round_bf16(v);
  store_u32(p, row & 1 ? (old & 0xffffu) | bits : (old & 0xffff0000u) | (bits >> 16));
}

static inline float to_float(float value) { return value; }
static inline float to_float(uint16_t bits) { return bf16_to_float(bits); }

// Element (row, lane) of a panel, by itself.
static inline float element(const float* panel, int64_t row, int64_t lane) {
  return panel[row * kPanel + lane];
}
static inline float element(const uint16_t* panel, int64_t row, int64_t lane) {
  return bf16_to_float(panel[(row >> 1) * 2 * kPanel + lane * 2 + (row & 1)]);
}
static inline void put(float* panel, int64_t row, int64_t lane, float value) {
  panel[row * kPanel + lane] = value;
}
static inline void put(uint16_t* panel, int64_t row, int64_t lane, float value) {
  panel[(row >> 1) * 2 * kPanel + lane * 2 + (row & 1)] = float_to_bf16(value);
}

// The first element of panel p.
template <class T>
static inline T* panel_data(const rora_activation& a, int64_t p) {
  return static_cast<T*>(a.data) + p * panel_stride(a);
}

// Calls body(T{}) with the activation's element type: body is compiled once for each.
template <class Body>
static inline void with_type(const rora_activation& a, const Body& body) {
  if (a.dtype == RORA_F32)
    body(float{});
  else
    body(uint16_t{});
}

// Rows [row, row + count) of one panel, widened to floats: target[i * stride + lane]. `row` may be
// odd.
static inline void widen_rows(const rora_activation& a, int64_t panel, int64_t row, int64_t count,
                              float* target, int64_t stride) {
  with_type(a, [&](auto type) {
    using T = decltype(type);
    const T* base = panel_data<T>(a, panel);
    for (int64_t i = 0; i < count; ++i)
      for (int lane = 0; lane < kPanel; lane += kLanes)
        store(target + i * stride + lane, load_row(base, row + i, lane));
  });
}

}  // namespace rora::RORA_LEVEL
