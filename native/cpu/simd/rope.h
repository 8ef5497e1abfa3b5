// Rotary embedding (arXiv:2104.09864) of the heads of a panel, in place:
//   (a, b) -> (a cos - b sin, b cos + a sin)  for features i and i + head_dim / 2.
//
// The cosines and sines of a panel's tokens are gathered once, [head_dim / 2][64], and used for all
// heads. Traffic: the heads once in and once out. Reference: cpu/reference/rope.cpp.
#pragma once

#include "cpu/simd/math.h"

namespace rora::RORA_LEVEL {

// angles[i * 64 + lane] = table[positions[lane], i] * sign; unused lanes of the last vector take
// position 0.
static inline void gather_angles(const RopeOp& op, int64_t panel, const float* table, float sign,
                                 float* angles) {
  const int64_t half = op.rope->head_dim / 2;
  const int active = active_lanes(op.x->tokens, panel);
  for (int lane = 0; lane < computed_lanes(op.x->tokens, active); ++lane) {
    const int64_t position = lane < active ? op.batch->positions[panel * kPanel + lane] : 0;
    for (int64_t i = 0; i < half; ++i)
      angles[i * kPanel + lane] = sign * table[position * half + i];
  }
}

template <class T>
static inline void rotate_head(T* panel, int lanes, int64_t row, int64_t half, const float* cosines,
                               const float* sines) {
  for (int64_t i = 0; i < half; ++i)
    for (int lane = 0; lane < lanes; lane += kLanes) {
      const vfloat a = load_row(panel, row + i, lane), b = load_row(panel, row + half + i, lane);
      const vfloat cosine = load(cosines + i * kPanel + lane);
      const vfloat sine = load(sines + i * kPanel + lane);
      store_row(panel, row + i, lane, a * cosine - b * sine);
      store_row(panel, row + half + i, lane, b * cosine + a * sine);
    }
}

static inline void rope(rora_context& context, const RopeOp& op) {
  const int64_t dim = op.rope->head_dim, half = dim / 2;
  context.pool->reserve(dim * kPanel * int64_t(sizeof(float)));
  parallel(*context.pool, panels(op.x->tokens), [&](int64_t panel, int32_t thread) {
    float* cosines = reinterpret_cast<float*>(context.pool->scratch(thread));
    float* sines = cosines + half * kPanel;
    gather_angles(op, panel, op.rope->cosines.data(), 1.0f, cosines);
    gather_angles(op, panel, op.rope->sines.data(), op.inverse ? -1.0f : 1.0f, sines);
    const int lanes = computed_lanes(op.x->tokens, active_lanes(op.x->tokens, panel));
    with_type(*op.x, [&](auto type) {
      using T = decltype(type);
      T* x = panel_data<T>(*op.x, panel);
      for (int64_t head = 0; head < op.heads; ++head)
        rotate_head(x, lanes, op.column + head * dim, half, cosines, sines);
    });
  });
}

}  // namespace rora::RORA_LEVEL
