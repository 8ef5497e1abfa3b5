#include <cmath>

#include "cpu/panel.h"
#include "cpu/reference/padding.h"
#include "cpu/reference/reference.h"

namespace rora {
namespace {

double sigmoid(double value) { return 1 / (1 + std::exp(-value)); }

}  // namespace

// y = silu(gate) o up,  silu(g) = g sigmoid(g)      (arXiv:2002.05202, eq. 6)
void reference_swiglu_forward(rora_context&, const SwigluOp& op) {
  const rora_activation& in = *op.gate_up;
  for (int64_t t = 0; t < in.tokens; ++t)
    for (int64_t f = 0; f < op.y->width; ++f) {
      const double gate = get(in, t, f), up = get(in, t, op.up_column + f);
      set(*op.y, t, f, float(gate * sigmoid(gate) * up));
    }
  clear_padding(*op.y);
}

// d_up = dy silu(g),  d_gate = dy up s (1 + g (1 - s)),  s = sigmoid(g)
void reference_swiglu_backward(rora_context&, const SwigluOp& op) {
  const rora_activation& in = *op.gate_up;
  rora_activation& out = *op.d_gate_up;
  const int64_t width = op.dy->width;
  for (int64_t t = 0; t < op.dy->tokens; ++t)
    for (int64_t f = 0; f < width; ++f) {
      const double gate = get(in, t, f), up = get(in, t, op.up_column + f);
      const double dy = get(*op.dy, t, f), s = sigmoid(gate);
      set(out, t, f, float(dy * up * s * (1 + gate * (1 - s))));
      set(out, t, op.up_column + f, float(dy * gate * s));
    }
  for (const int64_t column : {int64_t(0), op.up_column}) {
    if (width < even(width))
      for (int64_t t = 0; t < out.tokens; ++t) set(out, t, column + width, 0.0f);
    clear_unused_lanes(out, column, even(width));
  }
}

}  // namespace rora
