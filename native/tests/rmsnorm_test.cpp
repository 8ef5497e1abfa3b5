#include "layers_testing.h"

using namespace rora;
using namespace rora::testing;

namespace {

constexpr float kEps = 1e-5f;
const int64_t kWidths[] = {1, 2, 7, 64, 131};

double inverse_rms(const double* x, int64_t width) {
  double squares = 0;
  for (int64_t f = 0; f < width; ++f) squares += x[f] * x[f];
  return 1 / std::sqrt(squares / double(width) + double(kEps));
}

std::vector<double> normalise(const std::vector<double>& x, const std::vector<float>& weight) {
  const int64_t width = int64_t(weight.size()), tokens = int64_t(x.size()) / width;
  std::vector<double> y(x.size());
  for (int64_t t = 0; t < tokens; ++t) {
    const double r = inverse_rms(&x[size_t(t * width)], width);
    for (int64_t f = 0; f < width; ++f)
      y[size_t(t * width + f)] = x[size_t(t * width + f)] * r * double(weight[size_t(f)]);
  }
  return y;
}

struct Gradients {
  std::vector<double> dx, dx_terms, dw, dw_terms;  // _terms: the same sums of absolute values
};

Gradients gradients(const std::vector<double>& x, const std::vector<float>& weight,
                    const std::vector<double>& dy) {
  const int64_t width = int64_t(weight.size()), tokens = int64_t(x.size()) / width;
  Gradients g;
  g.dx.resize(x.size()), g.dx_terms.resize(x.size());
  g.dw.resize(weight.size()), g.dw_terms.resize(weight.size());
  for (int64_t t = 0; t < tokens; ++t) {
    const double r = inverse_rms(&x[size_t(t * width)], width);
    double mean = 0, terms = 0;
    for (int64_t f = 0; f < width; ++f) {
      const size_t i = size_t(t * width + f);
      const double product = x[i] * double(weight[size_t(f)]) * dy[i] / double(width);
      mean += product;
      terms += std::fabs(product);
      g.dw[size_t(f)] += dy[i] * x[i] * r;
      g.dw_terms[size_t(f)] += std::fabs(dy[i] * x[i] * r);
    }
    for (int64_t f = 0; f < width; ++f) {
      const size_t i = size_t(t * width + f);
      const double direct = double(weight[size_t(f)]) * dy[i];
      g.dx[i] = r * (direct - x[i] * r * r * mean);
      g.dx_terms[i] = r * (std::fabs(direct) + std::fabs(x[i]) * r * r * terms);
    }
  }
  return g;
}

}  // namespace

TEST(rmsnormNormalisesEachToken) {
  on_every_level([](const Case& c) {
    Random random(1);
    for (const int64_t tokens : token_counts())
      for (const int64_t width : kWidths) {
        const std::vector<float> x = rounded(random.normal(tokens * width), c.dtype);
        const std::vector<float> weight = random.normal(width);
        Tensor input(c.context, c.dtype, tokens, width, x);
        Tensor y(c.context, c.dtype, 0, width, {}, tokens);
        Floats w(c.context, weight);
        EXPECT_OK(rora_rmsnorm_forward(input, w.get(), kEps, y));
        const std::vector<double> expected = normalise(as_double(x), weight);
        const double terms = double(width + 8) * kFloatHalf;
        // In bf16 the normalised value and the product are both rounded.
        EXPECT_CASE(c.name, y.values(), expected, [&](size_t i) {
          return terms * std::fabs(expected[i]) + 2 * storage_bound(c.dtype, expected[i]);
        });
        EXPECT(y.padding_is_zero());
      }
  });
}

TEST(rmsnormIsExactOnEqualPowersOfTwo) {
  on_every_level([](const Case& c) {
    Tensor x(c.context, c.dtype, 3, 4, {2, -2, 2, 2, 4, 4, -4, 4, 0, 0, 0, 0});
    Tensor y(c.context, c.dtype, 3, 4);
    Floats weight(c.context, std::vector<float>{1, 2, 3, 4});
    EXPECT_OK(rora_rmsnorm_forward(x, weight.get(), 1e-12f, y));
    EXPECT_SAME_BITS(y.values(), (std::vector<float>{1, -2, 3, 4, 1, 2, -3, 4, 0, 0, 0, 0}));
  });
}

TEST(rmsnormGradientAddsToWhatIsThere) {
  on_every_level([](const Case& c) {
    Random random(2);
    for (const int64_t tokens : token_counts())
      for (const int64_t width : kWidths) {
        const int64_t count = tokens * width;
        const std::vector<float> x = rounded(random.normal(count), c.dtype);
        const std::vector<float> dy = rounded(random.normal(count), c.dtype);
        const std::vector<float> before = rounded(random.normal(count), c.dtype);
        const std::vector<float> weight = random.normal(width), dw_before = random.normal(width);
        Tensor input(c.context, c.dtype, tokens, width, x),
            d(c.context, c.dtype, tokens, width, dy);
        Tensor dx(c.context, c.dtype, tokens, width, before);
        input.spoil_unused_lanes(3.0f);
        Floats w(c.context, weight), dw(c.context, dw_before);
        EXPECT_OK(rora_rmsnorm_backward(input, w.get(), kEps, d, dw.get(), dx));
        Gradients g = gradients(as_double(x), weight, as_double(dy));
        for (size_t i = 0; i < g.dx.size(); ++i) g.dx[i] += double(before[i]);
        for (size_t i = 0; i < g.dw.size(); ++i) g.dw[i] += double(dw_before[i]);
        const double half = 2 * double(width + 8) * kFloatHalf;
        EXPECT_CASE(c.name, dx.values(), g.dx, [&](size_t i) {
          return half * (g.dx_terms[i] + std::fabs(g.dx[i])) + storage_bound(c.dtype, g.dx[i]);
        });
        const double rounding = c.dtype == RORA_BF16 ? 2 * kBf16Half : 0.0;
        EXPECT_CASE(c.name, dw.values(), g.dw, [&](size_t i) {
          return (double(tokens + width + 8) * kFloatHalf + rounding) * g.dw_terms[i] +
                 2 * kFloatHalf * std::fabs(g.dw[i]);
        });
        EXPECT(dx.padding_is_zero());
      }
  });
}

TEST(rmsnormGradientIsTheCentralDifference) {
  Random random(3);
  const std::vector<double> x = as_double(random.normal(2 * 5)),
                            dy = as_double(random.normal(2 * 5));
  const std::vector<float> weight = random.normal(5);
  const Gradients g = gradients(x, weight, dy);
  const auto objective = [&](const std::vector<double>& values) {
    const std::vector<double> y = normalise(values, weight);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * dy[i];
    return sum;
  };
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT(std::fabs(g.dx[i] - central_difference(objective, x, i)) < 1e-7);
}

TEST(rmsnormDoesNotDependOnThreads) {
  for (const std::string& level : levels()) {
    Random random(4);
    const int64_t tokens = 130, width = 131;
    const std::vector<float> x = random.normal(tokens * width), weight = random.normal(width);
    std::vector<float> first_dx, first_dw;
    for (const int threads : {1, 2, 3}) {
      Context context(level, threads);
      Tensor input(context, RORA_F32, tokens, width, x), dx(context, RORA_F32, tokens, width);
      Floats w(context, weight), dw(context, width);
      EXPECT_OK(rora_rmsnorm_backward(input, w.get(), kEps, input, dw.get(), dx));
      if (threads == 1) first_dx = dx.values(), first_dw = dw.values();
      EXPECT_SAME_BITS(dx.values(), first_dx);
      EXPECT_SAME_BITS(dw.values(), first_dw);
    }
  }
}

TEST(rmsnormRefusesBadArgumentsAndWritesNothing) {
  Context context("portable");
  Tensor x(context, RORA_F32, 2, 4), narrow(context, RORA_F32, 2, 3),
      bf16(context, RORA_BF16, 2, 4);
  Tensor y(context, RORA_F32, 1, 4, {1, 2, 3, 4});
  Floats weight(context, 4);
  EXPECT_ERROR(rora_rmsnorm_forward(nullptr, weight.get(), kEps, y), RORA_INVALID_ARGUMENT, "x");
  EXPECT_ERROR(rora_rmsnorm_forward(x, nullptr, kEps, y), RORA_INVALID_ARGUMENT, "weight");
  EXPECT_ERROR(rora_rmsnorm_forward(x, weight.get(), 0.0f, y), RORA_INVALID_ARGUMENT, "eps=0");
  EXPECT_ERROR(rora_rmsnorm_forward(x, weight.get(), kEps, narrow), RORA_INVALID_ARGUMENT, "wide");
  EXPECT_ERROR(rora_rmsnorm_forward(x, weight.get(), kEps, bf16), RORA_INVALID_ARGUMENT, "bf16");
  EXPECT_ERROR(rora_rmsnorm_forward(x, weight.get(), kEps, y), RORA_INVALID_ARGUMENT, "room");
  EXPECT_ERROR(rora_rmsnorm_forward(x, weight.get(), kEps, x), RORA_INVALID_ARGUMENT, "same");
  EXPECT_ERROR(rora_rmsnorm_backward(x, weight.get(), kEps, x, nullptr, y), RORA_INVALID_ARGUMENT,
               "tokens");
  EXPECT_SAME_BITS(y.values(), (std::vector<float>{1, 2, 3, 4}));
}
