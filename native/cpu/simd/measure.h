// What the machine can do at most, for benchmarks to divide by: arithmetic without memory, and
// memory without arithmetic. Reference: cpu/reference/measure.cpp.
#pragma once

#include "cpu/simd/amx.h"

namespace rora::RORA_LEVEL {

// Independent sums: an FMA takes 4 or 5 cycles (a bf16 product up to 6) and 2 may start in each, so
// 12 hide that. With factor and term they fill most of the registers and spill none; objdump shows
// a loop of kPeakSums instructions and its counter.
#if defined(__AVX512F__)
constexpr int kPeakSums = 24;
#else
constexpr int kPeakSums = 12;
#endif

static inline float sum_of_peak(const vfloat* sums) {
  vfloat all = sums[0];
  for (int i = 1; i < kPeakSums; ++i) all += sums[i];
  return sum_lanes(all);
}

// s = s f + t with f = 1/2 and t = 1, which stays near 2.
static inline float float_rounds(const float* start, int64_t rounds) {
  const vfloat factor = splat(start[0] * 0.5f), term = splat(start[1]);
  vfloat sums[kPeakSums];
  for (int i = 0; i < kPeakSums; ++i) sums[i] = splat(start[i]);
  for (int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 32
    for (int i = 0; i < kPeakSums; ++i) sums[i] = sums[i] * factor + term;
  return sum_of_peak(sums);
}

// FLOP of one round.
constexpr double kFloatRound = 2.0 * kPeakSums * kLanes;

#if defined(__AMX_BF16__)

// Four sums of 16 x 16, each of a tile of 16 x 32 and one of 32 x 16: a product starts every 16
// cycles and takes 52.
constexpr double kBf16Round = 4.0 * 2 * 16 * 16 * 32;

static inline float bf16_rounds(const float* start, int64_t rounds) {
  const TileSession session(true);
  __asm__ volatile("" ::: "memory");  // as in amx.h
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_loadd(4, start, 64);
  _tile_loadd(5, start, 64);
  _tile_loadd(6, start, 64);
  _tile_loadd(7, start, 64);
  for (int64_t round = 0; round < rounds; ++round) {
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
  float sums[kPeakFloats];
  _tile_stored(0, sums, 64);
  return sums[0];
}

#elif defined(__AVX512BF16__)

constexpr double kBf16Round = 4.0 * kPeakSums * kLanes;

static inline float bf16_rounds(const float* start, int64_t rounds) {
  const __m512bh a = (__m512bh)splat(start[0] * 0.5f), b = (__m512bh)splat(start[1]);
  __m512 sums[kPeakSums];
  for (int i = 0; i < kPeakSums; ++i) sums[i] = splat(start[i]);
  for (int64_t round = 0; round < rounds; ++round)
#pragma GCC unroll 32
    for (int i = 0; i < kPeakSums; ++i) sums[i] = _mm512_dpbf16_ps(sums[i], a, b);
  return sum_of_peak(sums);
}

#else

// Kernels of this level widen bf16 to float.
constexpr double kBf16Round = kFloatRound;

static inline float bf16_rounds(const float* start, int64_t rounds) {
  return float_rounds(start, rounds);
}

#endif

static inline void peak(PeakOp& op) {
  const bool bf16 = op.dtype == RORA_BF16;
  op.result = bf16 ? bf16_rounds(op.start, op.rounds) : float_rounds(op.start, op.rounds);
  op.flop = (bf16 ? kBf16Round : kFloatRound) * double(op.rounds);
}

// Each thread reads one piece from end to end, kStreamFloats at a time into independent sums.
static inline void stream(rora_context& context, const StreamOp& op) {
  const int64_t threads = context.pool->threads(), blocks = op.count / kStreamFloats;
  parallel(*context.pool, threads, [&](int64_t part, int32_t) {
    constexpr int kStreamVectors = 8;
    vfloat sums[kStreamVectors] = {};
    const float* end = op.values + blocks * (part + 1) / threads * kStreamFloats;
    for (const float* p = op.values + blocks * part / threads * kStreamFloats; p < end;)
#pragma GCC unroll 8
      for (int i = 0; i < kStreamVectors; ++i, p += kLanes) sums[i] += load(p);
    vfloat all = sums[0];
    for (int i = 1; i < kStreamVectors; ++i) all += sums[i];
    op.results[part] = sum_lanes(all);
  });
}

}  // namespace rora::RORA_LEVEL
