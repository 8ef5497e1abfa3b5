// Addressing of token panels (api/objects.h describes the layout) for any backend on the CPU. These
// are plain accessors: reference kernels, conversions and tests use them; cpu/simd has its own.
#pragma once

#include <cstring>

#include "api/objects.h"

namespace rora {

constexpr int64_t kPanel = 64;  // tokens: four AVX-512 registers of floats

inline float bf16_to_float(uint16_t bits) {
  const uint32_t wide = uint32_t(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

// Rounds to nearest even; NaN stays a (quiet) NaN.
inline uint16_t float_to_bf16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return uint16_t((bits >> 16) | 0x40u);
  bits += 0x7fffu + ((bits >> 16) & 1u);
  return uint16_t(bits >> 16);
}

inline int64_t panels(int64_t tokens) { return (tokens + kPanel - 1) / kPanel; }

// Elements from one panel to the next.
inline int64_t panel_stride(const rora_activation& a) { return a.rows * kPanel; }

inline int64_t panel_index(const rora_activation& a, int64_t token, int64_t row) {
  const int64_t base = token / kPanel * panel_stride(a), lane = token % kPanel;
  return a.dtype == RORA_F32 ? base + row * kPanel + lane
                             : base + (row >> 1) * 2 * kPanel + lane * 2 + (row & 1);
}

// Row r is feature r, or, from even(width) on, tail column r - even(width).
inline float get(const rora_activation& a, int64_t token, int64_t row) {
  const int64_t i = panel_index(a, token, row);
  return a.dtype == RORA_F32 ? static_cast<const float*>(a.data)[i]
                             : bf16_to_float(static_cast<const uint16_t*>(a.data)[i]);
}

inline void set(rora_activation& a, int64_t token, int64_t row, float value) {
  const int64_t i = panel_index(a, token, row);
  if (a.dtype == RORA_F32)
    static_cast<float*>(a.data)[i] = value;
  else
    static_cast<uint16_t*>(a.data)[i] = float_to_bf16(value);
}

inline float weight_at(const rora_weight& w, int64_t out, int64_t in) {
  const int64_t i = out * w.in_features + in;
  return w.dtype == RORA_F32 ? static_cast<const float*>(w.data)[i]
                             : bf16_to_float(static_cast<const uint16_t*>(w.data)[i]);
}

}  // namespace rora
