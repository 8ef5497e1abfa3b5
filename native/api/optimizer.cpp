#include "rora/optimizer.h"

#include <cmath>

#include "api/layer_checks.h"

namespace rora {
namespace {

void check_count(int64_t count) {
  RORA_REQUIRE(count >= 0, "count=%lld: must not be negative", static_cast<long long>(count));
}

bool overlap(const float* a, const float* b, int64_t count) {
  const auto x = reinterpret_cast<uintptr_t>(a), y = reinterpret_cast<uintptr_t>(b);
  return (x < y ? y - x : x - y) < uintptr_t(count) * sizeof(float);
}

void check_step(const rora_adamw_step& s) {
  RORA_REQUIRE(std::isfinite(s.learning_rate) && s.learning_rate >= 0,
               "learning_rate=%g: must be finite and not negative", s.learning_rate);
  RORA_REQUIRE(s.beta1 >= 0 && s.beta1 < 1, "beta1=%g: must be in [0, 1)", s.beta1);
  RORA_REQUIRE(s.beta2 >= 0 && s.beta2 < 1, "beta2=%g: must be in [0, 1)", s.beta2);
  RORA_REQUIRE(std::isfinite(s.epsilon) && s.epsilon >= 0,
               "epsilon=%g: must be finite and not negative", s.epsilon);
  RORA_REQUIRE(std::isfinite(s.weight_decay) && s.weight_decay >= 0,
               "weight_decay=%g: must be finite and not negative", s.weight_decay);
  RORA_REQUIRE(std::isfinite(s.gradient_scale), "gradient_scale=%g: must be finite",
               s.gradient_scale);
  RORA_REQUIRE(s.step >= 1, "step=%lld: steps count from 1", static_cast<long long>(s.step));
}

}  // namespace
}  // namespace rora

using namespace rora;

rora_status rora_sum_of_squares(rora_context* context, int64_t count, const float* values,
                                double* sum) {
  return guard([&] {
    require_given(context, "context");
    require_given(sum, "sum");
    check_count(count);
    if (count > 0) require_given(values, "values");
    SumOfSquaresOp op{};
    op.count = count, op.values = values, op.sum = sum;
    context->kernels->sum_of_squares(*context, op);
  });
}

rora_status rora_adamw(rora_context* context, const rora_adamw_step* step, int64_t count,
                       float* values, float* gradients, float* first_moments,
                       float* second_moments) {
  return guard([&] {
    require_given(context, "context");
    require_given(step, "step");
    check_step(*step);
    check_count(count);
    if (count == 0) return;
    float* const arrays[] = {values, gradients, first_moments, second_moments};
    const char* const names[] = {"values", "gradients", "first_moments", "second_moments"};
    for (int i = 0; i < 4; ++i) {
      require_given(arrays[i], names[i]);
      for (int j = 0; j < i; ++j)
        RORA_REQUIRE(!overlap(arrays[i], arrays[j], count), "%s and %s overlap: they must not",
                     names[j], names[i]);
    }
    AdamwOp op{};
    op.step = *step, op.count = count, op.values = values, op.gradients = gradients;
    op.first_moments = first_moments, op.second_moments = second_moments;
    context->kernels->adamw(*context, op);
  });
}
