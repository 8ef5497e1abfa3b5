// Elementary functions of vectors, and what panels need to treat lanes past the last token.
#pragma once

#include "cpu/simd/vec.h"

namespace rora::RORA_LEVEL {

// e^x within 2 units in the last place; 0 below -104, infinity above 88.73, NaN for NaN.
//
// x = n ln 2 + r, |r| <= ln 2 / 2; e^r by the polynomial of Cephes' expf. 2^n is applied in two
// halves, so that it neither overflows early nor misses denormal results.
static inline vfloat exp(vfloat x) {
  x = x < splat(-104.0f) ? splat(-104.0f) : x;
  x = x > splat(89.0f) ? splat(89.0f) : x;
  const vfloat magic = splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const vfloat shifted = x * splat(1.44269504088896341f) + magic;
  const vfloat n = shifted - magic;
  const vfloat r = (x - n * splat(0.693359375f)) - n * splat(-2.12194440e-4f);
  vfloat p = r * splat(1.9875691500e-4f) + splat(1.3981999507e-3f);
  p = p * r + splat(8.3334519073e-3f);
  p = p * r + splat(4.1665795894e-2f);
  p = p * r + splat(1.6666665459e-1f);
  p = p * r + splat(5.0000001201e-1f);
  p = p * (r * r) + r + splat(1.0f);
  const vint whole = (vint)shifted - (vint)magic;
  const vint half = whole >> 1, rest = whole - half;
  return p * (vfloat)((half + 127) << 23) * (vfloat)((rest + 127) << 23);
}

// 1 / (1 + e^-x)
static inline vfloat sigmoid(vfloat x) { return splat(1.0f) / (splat(1.0f) + exp(-x)); }

// [lane, lane + kLanes) as integers
static inline vint lane_numbers(int lane) {
  vint numbers = {};
  for (int i = 0; i < kLanes; ++i) numbers[i] = lane + i;
  return numbers;
}

// How many lanes of a panel hold tokens.
static inline int active_lanes(int64_t tokens, int64_t panel) {
  return int(min_of(kPanel, tokens - panel * kPanel));
}

// Up to so many tokens (a step of generation), operators leave the panel's other lanes alone.
constexpr int64_t kFewTokens = 8;

// The lanes of a panel that a forward operator computes: all, or for few tokens the vectors with
// tokens in them, so that one costs a quarter of a panel or less.
static inline int computed_lanes(int64_t tokens, int active) {
  return tokens <= kFewTokens ? int(round_up(active, kLanes)) : int(kPanel);
}

// v in lanes below `active`, zero in the others.
static inline vfloat keep(vfloat v, int lane, int active) {
  return lane_numbers(lane) < active ? v : vfloat{};
}

static inline RowPair keep(RowPair v, int lane, int active) {
  return {keep(v.even, lane, active), keep(v.odd, lane, active)};
}

}  // namespace rora::RORA_LEVEL
