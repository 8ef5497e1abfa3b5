#include <cmath>

#include "cpu/reference/reference.h"

namespace rora {

void reference_sum_of_squares(rora_context&, const SumOfSquaresOp& op) {
  double sum = 0;
  for (int64_t i = 0; i < op.count; ++i) sum += double(op.values[i]) * double(op.values[i]);
  *op.sum = sum;
}

// AdamW (arXiv:1711.05101, algorithm 2), operation by operation what torch.optim.AdamW does on
// float32 tensors with foreach and fused off: scalars are combined in double and rounded once.
void reference_adamw(rora_context&, const AdamwOp& op) {
  const rora_adamw_step& s = op.step;
  const float decay = float(1 - s.learning_rate * s.weight_decay);
  const float weight1 = float(1 - s.beta1), beta2 = float(s.beta2), weight2 = float(1 - s.beta2);
  const double correction1 = 1 - std::pow(s.beta1, double(s.step));
  const float root_correction2 = float(std::sqrt(1 - std::pow(s.beta2, double(s.step))));
  const float step_size = float(s.learning_rate / correction1), epsilon = float(s.epsilon);
  for (int64_t i = 0; i < op.count; ++i) {
    const float g = op.gradients[i] * float(s.gradient_scale);
    float &m = op.first_moments[i], &v = op.second_moments[i];
    m = m + weight1 * (g - m);
    v = v * beta2 + weight2 * g * g;
    const float denominator = std::sqrt(v) / root_correction2 + epsilon;
    op.values[i] = op.values[i] * decay - step_size * m / denominator;
    op.gradients[i] = 0;
  }
}

}  // namespace rora
