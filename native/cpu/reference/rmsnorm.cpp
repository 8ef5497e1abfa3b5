#include <cmath>

#include "cpu/panel.h"
#include "cpu/reference/padding.h"
#include "cpu/reference/reference.h"

namespace rora {
namespace {

double inverse_rms(const rora_activation& x, int64_t token, float eps) {
  double squares = 0;
  for (int64_t f = 0; f < x.width; ++f) {
    const double value = get(x, token, f);
    squares += value * value;
  }
  return 1 / std::sqrt(squares / double(x.width) + double(eps));
}

// x r as the activations' type holds it: transformers rounds it before the product with the weight.
double normalised(const rora_activation& x, int64_t token, int64_t f, double r) {
  const float value = float(double(get(x, token, f)) * r);
  return x.dtype == RORA_F32 ? value : bf16_to_float(float_to_bf16(value));
}

}  // namespace

// y = x r weight,  r = 1 / sqrt(mean(x^2) + eps)      (arXiv:1910.07467, eq. 4)
void reference_rmsnorm_forward(rora_context&, const RmsNormOp& op) {
  const rora_activation& x = *op.x;
  for (int64_t t = 0; t < x.tokens; ++t) {
    const double r = inverse_rms(x, t, op.eps);
    for (int64_t f = 0; f < x.width; ++f)
      set(*op.y, t, f, float(normalised(x, t, f, r) * double(op.weight[f])));
  }
  clear_padding(*op.y);
}

// dx += r (w o dy - x r^2 mean(x o w o dy)),  dweight += sum over tokens of dy o x r
void reference_rmsnorm_backward(rora_context&, const RmsNormOp& op) {
  const rora_activation &x = *op.x, &dy = *op.dy;
  for (int64_t t = 0; t < x.tokens; ++t) {
    const double r = inverse_rms(x, t, op.eps);
    double mean = 0;
    for (int64_t f = 0; f < x.width; ++f)
      mean += double(get(x, t, f)) * double(op.weight[f]) * double(get(dy, t, f)) / double(x.width);
    for (int64_t f = 0; f < x.width; ++f) {
      const double share =
          r * (double(op.weight[f]) * double(get(dy, t, f)) - double(get(x, t, f)) * r * r * mean);
      set(*op.dx, t, f, float(double(get(*op.dx, t, f)) + share));
    }
  }
  if (!op.weight_gradient) return;
  for (int64_t f = 0; f < x.width; ++f) {
    double sum = 0;
    for (int64_t t = 0; t < x.tokens; ++t)
      sum += double(get(dy, t, f)) * normalised(x, t, f, inverse_rms(x, t, op.eps));
    op.weight_gradient[f] += float(sum);
  }
}

}  // namespace rora
