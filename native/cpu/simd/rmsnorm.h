// RMSNorm (arXiv:1910.07467):  y = x r w,  r = 1 / sqrt(mean(x^2) + eps), and
//   dx += r (w o dy - x r^2 mean(x o w o dy)),  dw += sum over tokens of dy o x r.
//
// Tokens are lanes, so the means are vertical sums. A task owns a panel and goes over it twice (it
// stays in L2); dw is a second loop whose tasks own rows, each summing all tokens in order. With
// bf16, x r is rounded before the product with w, as transformers does. Reference:
// cpu/reference/rmsnorm.cpp.
#pragma once

#include "cpu/simd/math.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kNormRows = 64;  // rows of dw in a task

static inline vfloat as_stored(const float*, vfloat v) { return v; }
static inline vfloat as_stored(const uint16_t*, vfloat v) { return (vfloat)round_bf16(v); }

// The weights of a pair of rows; zero for the pad row of an odd width.
struct PairWeight {
  float even, odd;
};
static inline PairWeight pair_weight(const float* weight, int64_t pair, int64_t width) {
  return {weight[2 * pair], 2 * pair + 1 < width ? weight[2 * pair + 1] : 0.0f};
}

// r of lanes [lane, lane + kLanes)
template <class T>
static inline vfloat inverse_rms(const T* panel, int64_t width, float eps, int lane) {
  vfloat low = {}, high = {};
  for (int64_t pair = 0; pair < even(width) / 2; ++pair) {
    const RowPair x = load_pair(panel, pair, lane);
    low += x.even * x.even;
    high += x.odd * x.odd;
  }
  vfloat r = (low + high) * (1.0f / float(width)) + splat(eps);
  for (int i = 0; i < kLanes; ++i) r[i] = 1.0f / __builtin_sqrtf(r[i]);
  return r;
}

static inline void rmsnorm_forward(rora_context& context, const RmsNormOp& op) {
  const rora_activation& x = *op.x;
  parallel(*context.pool, panels(x.tokens), [&](int64_t panel, int32_t) {
    const int active = active_lanes(x.tokens, panel);
    with_type(x, [&](auto type) {
      using T = decltype(type);
      const T* source = panel_data<T>(x, panel);
      T* target = panel_data<T>(*op.y, panel);
      for (int lane = 0; lane < computed_lanes(x.tokens, active); lane += kLanes) {
        const vfloat r = keep(inverse_rms(source, x.width, op.eps, lane), lane, active);
        for (int64_t pair = 0; pair < even(x.width) / 2; ++pair) {
          const RowPair v = load_pair(source, pair, lane);
          const PairWeight w = pair_weight(op.weight, pair, x.width);
          const RowPair y = {as_stored(source, v.even * r) * w.even,
                             as_stored(source, v.odd * r) * w.odd};
          store_pair(target, pair, lane, y);
        }
      }
    });
  });
}

// The mean of x o w o dy in lanes [lane, lane + kLanes).
template <class T>
static inline vfloat mean_product(const T* x, const T* dy, const float* weight, int64_t width,
                                  int lane) {
  vfloat low = {}, high = {};
  for (int64_t pair = 0; pair < even(width) / 2; ++pair) {
    const RowPair a = load_pair(x, pair, lane), b = load_pair(dy, pair, lane);
    const PairWeight w = pair_weight(weight, pair, width);
    low += a.even * b.even * w.even;
    high += a.odd * b.odd * w.odd;
  }
  return (low + high) * (1.0f / float(width));
}

// dx of one panel; leaves its r in `r` [64].
template <class T>
static inline void rmsnorm_input_gradient(const RmsNormOp& op, int64_t panel, float* r_out) {
  const int64_t width = op.x->width;
  const T *x = panel_data<T>(*op.x, panel), *dy = panel_data<T>(*op.dy, panel);
  T* dx = panel_data<T>(*op.dx, panel);
  const int active = active_lanes(op.x->tokens, panel);
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    const vfloat r = keep(inverse_rms(x, width, op.eps, lane), lane, active);
    const vfloat inner = r * r * mean_product(x, dy, op.weight, width, lane);
    store(r_out + lane, r);
    for (int64_t pair = 0; pair < even(width) / 2; ++pair) {
      const RowPair a = load_pair(x, pair, lane), b = load_pair(dy, pair, lane);
      const PairWeight w = pair_weight(op.weight, pair, width);
      RowPair sum = load_pair(dx, pair, lane);
      sum.even += r * (b.even * w.even - a.even * inner);
      sum.odd += r * (b.odd * w.odd - a.odd * inner);
      store_pair(dx, pair, lane, sum);
    }
  }
}

template <class T>
static inline void rmsnorm_weight_gradient(const RmsNormOp& op, int64_t row, const float* r) {
  vfloat sum = {};
  for (int64_t panel = 0; panel < panels(op.x->tokens); ++panel) {
    const T *x = panel_data<T>(*op.x, panel), *dy = panel_data<T>(*op.dy, panel);
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      const vfloat normed = as_stored(x, load_row(x, row, lane) * load(r + panel * kPanel + lane));
      sum += load_row(dy, row, lane) * keep(normed, lane, active_lanes(op.x->tokens, panel));
    }
  }
  op.weight_gradient[row] += sum_lanes(sum);
}

static inline void rmsnorm_backward(rora_context& context, const RmsNormOp& op) {
  const int64_t count = panels(op.x->tokens), width = op.x->width;
  context.pool->reserve(count * kPanel * int64_t(sizeof(float)));
  float* r = reinterpret_cast<float*>(context.pool->scratch(0));  // of all tokens, for all threads
  with_type(*op.x, [&](auto type) {
    using T = decltype(type);
    parallel(*context.pool, count, [&](int64_t panel, int32_t) {
      rmsnorm_input_gradient<T>(op, panel, r + panel * kPanel);
    });
    if (!op.weight_gradient) return;
    parallel(*context.pool, blocks_of(width, kNormRows), [&](int64_t block, int32_t) {
      const int64_t last = min_of(width, (block + 1) * kNormRows);
      for (int64_t row = block * kNormRows; row < last; ++row)
        rmsnorm_weight_gradient<T>(op, row, r);
    });
  });
}

}  // namespace rora::RORA_LEVEL
