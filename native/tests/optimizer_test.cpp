#include "layers_testing.h"

using namespace rora;
using namespace rora::testing;

namespace {

constexpr rora_adamw_step kStep = {3e-3, 0.9, 0.999, 1e-8, 0.1, 0.5, 7};

// The state of `count` parameters: values, gradients, first and second moments.
struct State {
  std::vector<float> values, gradients, first, second;

  State(int64_t count, uint64_t seed) {
    Random random(seed);
    values = random.normal(count), gradients = random.normal(count);
    first = random.normal(count, 0.1f), second = random.normal(count, 0.1f);
    for (float& v : second) v *= v;
  }
};

// Updates a copy of the state in ranges that end at the cuts; returns values and moments, one after
// the other, and checks that the gradients are zero.
std::vector<float> update(rora_context* context, const State& state, std::vector<int64_t> cuts) {
  const int64_t count = int64_t(state.values.size());
  Floats values(context, state.values), gradients(context, state.gradients);
  Floats first(context, state.first), second(context, state.second);
  cuts.push_back(count);
  int64_t at = 0;
  for (const int64_t cut : cuts) {
    EXPECT_OK(rora_adamw(context, &kStep, cut - at, values.get() + at, gradients.get() + at,
                         first.get() + at, second.get() + at));
    at = cut;
  }
  EXPECT_SAME_BITS(gradients.values(), std::vector<float>(size_t(count), 0.0f));
  std::vector<float> all = values.values();
  for (const auto& more : {first.values(), second.values()})
    all.insert(all.end(), more.begin(), more.end());
  return all;
}

}  // namespace

// PyTorch 2.13.0: torch.optim.AdamW(lr=3e-3, weight_decay=0.1, foreach=False, fused=False), three
// steps.
TEST(adamwFollowsPyTorch) {
  const std::vector<std::vector<float>> gradients = {{0.1f, -0.2f, 0.3f, 1e-6f, 0.0f},
                                                     {0.05f, 0.4f, -0.3f, 2e-6f, 0.0f},
                                                     {-0.7f, 0.1f, 0.2f, -1e-6f, 1e-9f}};
  const std::vector<double> values = {0x1.fd5e1p-1, -0x1.ff5f42p+0, 0x1.fbe816p-2, 0x1.7ebf06p+1,
                                      -0x1.b6f54ap-14};
  const std::vector<double> first = {-0x1.d63886p-5, 0x1.e83e44p-6, 0x1.1b7176p-6, 0x1.59bebp-23,
                                     0x1.b7cdfep-34};
  const std::vector<double> second = {0x1.077164p-11, 0x1.b7e612p-13, 0x1.ccceb4p-13, 0x1.afe9dp-48,
                                      0x1.2e3b4p-70};
  for (const std::string& level : levels()) {
    Context context(level);
    Floats p(context, std::vector<float>{1.0f, -2.0f, 0.5f, 3.0f, 0.0f});
    Floats g(context, 5), m(context, 5), v(context, 5);
    for (int64_t step = 1; step <= 3; ++step) {
      g.write(gradients[size_t(step - 1)]);
      const rora_adamw_step settings = {3e-3, 0.9, 0.999, 1e-8, 0.1, 1.0, step};
      EXPECT_OK(rora_adamw(context, &settings, 5, p.get(), g.get(), m.get(), v.get()));
    }
    // Three steps of a handful of roundings, contracted differently.
    const auto bound = [](const std::vector<double>& expected) {
      return [&expected](size_t i) { return 6 * kFloatHalf * std::fabs(expected[i]); };
    };
    EXPECT_CASE(level, p.values(), values, bound(values));
    EXPECT_CASE(level, m.values(), first, [&](size_t i) {
      return 6 * kFloatHalf *
             std::max({std::fabs(first[i]), 0.07 * std::fabs(double(gradients[0][i]))});
    });
    EXPECT_CASE(level, v.values(), second, bound(second));
  }
}

TEST(adamwDoesNotDependOnCutsOrThreads) {
  const State state(50001, 1);
  for (const std::string& level : levels()) {
    std::vector<float> whole;
    for (const int threads : {1, 2, 3}) {
      Context context(level, threads);
      if (whole.empty()) whole = update(context, state, {});
      EXPECT_SAME_BITS(update(context, state, {}), whole);
      EXPECT_SAME_BITS(update(context, state, {1, 8, 8, 63, 20000, 49999}), whole);
    }
  }
}

TEST(adamwAgreesOnEveryLevel) {
  const State state(1003, 2);
  Context plain("reference");
  const std::vector<double> expected = as_double(update(plain, state, {}));
  for (const std::string& level : levels()) {
    Context context(level);
    const std::vector<float> found = update(context, state, {});
    EXPECT_CASE(level, found, expected, [&](size_t i) {
      const size_t j = i % 1003;  // a moment is a sum that may cancel
      const double terms =
          std::fabs(double(state.first[j])) + std::fabs(double(state.gradients[j]));
      return 6 * kFloatHalf * (std::fabs(expected[i]) + (i < 1003 ? 3e-2 : 1.0) * terms);
    });
  }
}

TEST(sumOfSquaresIsDoubleAndOrdered) {
  Random random(3);
  for (const int64_t count : {0, 1, 15, 16, 17, 65536, 200003}) {
    const std::vector<float> values = random.normal(count);
    double expected = 0;
    for (const float value : values) expected += double(value) * double(value);
    for (const std::string& level : levels()) {
      double first = -1;
      for (const int threads : {1, 2, 3}) {
        Context context(level, threads);
        Floats floats(context, values);
        double sum = -1;
        EXPECT_OK(rora_sum_of_squares(context, count, floats.get(), &sum));
        if (threads == 1) first = sum;
        EXPECT(sum == first);
        EXPECT(std::fabs(sum - expected) <= double(count) * 0x1p-53 * expected);
      }
    }
  }
}

TEST(optimizerRefusesBadArgumentsAndWritesNothing) {
  Context context("portable");
  Floats p(context, std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}), g(context, 8), m(context, 8),
      v(context, 8);
  rora_adamw_step step = kStep;
  EXPECT_ERROR(rora_adamw(context, &step, -1, p.get(), g.get(), m.get(), v.get()),
               RORA_INVALID_ARGUMENT, "count=-1");
  EXPECT_ERROR(rora_adamw(context, &step, 5, p.get(), p.get() + 4, m.get(), v.get()),
               RORA_INVALID_ARGUMENT, "values and gradients overlap");
  EXPECT_ERROR(rora_adamw(context, &step, 5, p.get(), g.get(), nullptr, v.get()),
               RORA_INVALID_ARGUMENT, "first_moments");
  step.step = 0;
  EXPECT_ERROR(rora_adamw(context, &step, 5, p.get(), g.get(), m.get(), v.get()),
               RORA_INVALID_ARGUMENT, "step=0");
  step = kStep, step.beta2 = 1.0;
  EXPECT_ERROR(rora_adamw(context, &step, 5, p.get(), g.get(), m.get(), v.get()),
               RORA_INVALID_ARGUMENT, "beta2=1");
  step = kStep, step.gradient_scale = NAN;
  EXPECT_ERROR(rora_adamw(context, &step, 5, p.get(), g.get(), m.get(), v.get()),
               RORA_INVALID_ARGUMENT, "gradient_scale");
  double sum = 0;
  EXPECT_ERROR(rora_sum_of_squares(context, 2, nullptr, &sum), RORA_INVALID_ARGUMENT, "values");
  EXPECT_SAME_BITS(p.values(), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
}
