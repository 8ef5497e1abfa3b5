// SwiGLU (arXiv:2002.05202):
//   y = g s u,  s = sigmoid(g);  du = dy g s,  dg = dy u s (1 + g (1 - s)).
//
// Element by element over pairs of rows, a task being a stretch of one panel's rows. Traffic: each
// operand once. The pad row of an odd width and the unused lanes of a vector are written as zero.
// Forwards, a handful of tokens are taken one by one, features being lanes. Reference:
// cpu/reference/swiglu.cpp.
#pragma once

#include "cpu/simd/math.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kSwigluPairs = 128;  // of rows in a task: 192 KB of floats, half of L2

// Calls body(panel, first pair, last pair) for stretches of the pairs of all panels of `tokens`
// tokens.
template <class Body>
static inline void for_row_pairs(rora_context& context, int64_t tokens, int64_t width,
                                 const Body& body) {
  const int64_t pairs = even(width) / 2, stretches = blocks_of(pairs, kSwigluPairs);
  parallel(*context.pool, panels(tokens) * stretches, [&](int64_t task, int32_t) {
    const int64_t first = task % stretches * kSwigluPairs;
    body(task / stretches, first, min_of(pairs, first + kSwigluPairs));
  });
}

static inline vfloat silu(vfloat gate) { return gate * sigmoid(gate); }

// Rows [first, last) of one token of a panel.
template <class T>
static inline void swiglu_token(const SwigluOp& op, int64_t panel, int lane, int64_t first,
                                int64_t last) {
  const T* source = panel_data<T>(*op.gate_up, panel);
  T* target = panel_data<T>(*op.y, panel);
  for (int64_t row = first; row < last; row += kLanes) {
    const int count = int(min_of(kLanes, last - row));
    vfloat gate = {}, up = {};
    for (int i = 0; i < count; ++i) {
      gate[i] = element(source, row + i, lane);
      up[i] = element(source, op.up_column + row + i, lane);
    }
    const vfloat y = silu(gate) * up;
    for (int i = 0; i < count; ++i) put(target, row + i, lane, row + i < op.y->width ? y[i] : 0.0f);
  }
}

static inline void swiglu_forward(rora_context& context, const SwigluOp& op) {
  const rora_activation& in = *op.gate_up;
  const int64_t width = op.y->width, up_pair = op.up_column / 2;
  for_row_pairs(context, in.tokens, width, [&](int64_t panel, int64_t first, int64_t last) {
    const int active = active_lanes(in.tokens, panel);
    with_type(in, [&](auto type) {
      using T = decltype(type);
      const T* source = panel_data<T>(in, panel);
      T* target = panel_data<T>(*op.y, panel);
      if (in.tokens <= kFewTokens) {
        for (int lane = 0; lane < active; ++lane)
          swiglu_token<T>(op, panel, lane, 2 * first, 2 * last);
        return;
      }
      for (int64_t pair = first; pair < last; ++pair)
        for (int lane = 0; lane < computed_lanes(in.tokens, active); lane += kLanes) {
          const RowPair gate = load_pair(source, pair, lane);
          const RowPair up = load_pair(source, up_pair + pair, lane);
          RowPair y = {silu(gate.even) * up.even, silu(gate.odd) * up.odd};
          if (2 * pair + 1 == width) y.odd = vfloat{};
          store_pair(target, pair, lane, keep(y, lane, active));
        }
    });
  });
}

struct GateUpGradient {
  vfloat gate, up;
};

static inline GateUpGradient swiglu_gradient(vfloat gate, vfloat up, vfloat dy) {
  const vfloat s = sigmoid(gate), one = splat(1.0f);
  return {dy * up * s * (one + gate * (one - s)), dy * gate * s};
}

static inline void swiglu_backward(rora_context& context, const SwigluOp& op) {
  const rora_activation& in = *op.gate_up;
  const int64_t width = op.dy->width, up_pair = op.up_column / 2;
  for_row_pairs(context, in.tokens, width, [&](int64_t panel, int64_t first, int64_t last) {
    const int active = active_lanes(in.tokens, panel);
    with_type(in, [&](auto type) {
      using T = decltype(type);
      const T* source = panel_data<T>(in, panel);
      const T* gradient = panel_data<T>(*op.dy, panel);
      T* target = panel_data<T>(*op.d_gate_up, panel);
      for (int64_t pair = first; pair < last; ++pair)
        for (int lane = 0; lane < kPanel; lane += kLanes) {
          const RowPair gate = load_pair(source, pair, lane);
          const RowPair up = load_pair(source, up_pair + pair, lane);
          const RowPair dy = load_pair(gradient, pair, lane);
          const GateUpGradient low = swiglu_gradient(gate.even, up.even, dy.even);
          GateUpGradient high = swiglu_gradient(gate.odd, up.odd, dy.odd);
          if (2 * pair + 1 == width) high = {vfloat{}, vfloat{}};
          store_pair(target, pair, lane, keep(RowPair{low.gate, high.gate}, lane, active));
          store_pair(target, up_pair + pair, lane, keep(RowPair{low.up, high.up}, lane, active));
        }
    });
  });
}

}  // namespace rora::RORA_LEVEL
