#include "cuda/rmsnorm.h"

#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

constexpr float kEps = 1e-5f;
const int64_t kTokens[] = {1, 3, 130};
// Narrower than a pack, than a warp's packs and than a block's, and wider.
const int64_t kWidths[] = {1, 7, 64, 131, 1027, 2056};

// Offsets a pointer to the weight by one float: then rows are not taken in packs.
const int64_t kOffsets[] = {0, 1};

struct Sample {
  int64_t tokens, width;
  std::vector<float> x, weight, dy, dx, weight_gradient;  // the gradients before

  template <class T>
  static Sample make(T, int64_t tokens, int64_t width) {
    Random random(uint64_t(tokens * 10000 + width));
    const int64_t count = tokens * width;
    return {tokens,
            width,
            as<T>(random.normal(count)),
            random.normal(width),
            as<T>(random.normal(count)),
            as<T>(random.normal(count)),
            random.normal(width)};
  }

  double inverse_rms(int64_t t) const {
    double squares = 0;
    for (int64_t f = 0; f < width; ++f)
      squares += double(x[size_t(t * width + f)]) * double(x[size_t(t * width + f)]);
    return 1 / std::sqrt(squares / double(width) + double(kEps));
  }
};

template <class T>
std::vector<float> forward(T, const Sample& s, uint64_t seed, int64_t offset) {
  simt::Stream stream(seed);
  Rows<T> x(s.tokens, s.width, s.x), y(s.tokens, s.width);
  simt::Memory<float> weight(size_t(offset + s.width));
  std::copy(s.weight.begin(), s.weight.end(), weight.begin() + offset);
  EXPECT_RUNS(rmsnorm_forward(
      &stream, RmsNormForward<T>{s.tokens, s.width, x.data(), x.pitch(), weight.data() + offset,
                                 kEps, y.data(), y.pitch()}));
  EXPECT(y.padding_survives());
  return y.values();
}

// dx and the weight's gradient, one after the other.
template <class T>
std::pair<std::vector<float>, std::vector<float>> backward(T, const Sample& s, uint64_t seed,
                                                           int64_t offset) {
  simt::Stream stream(seed);
  Rows<T> x(s.tokens, s.width, s.x), dy(s.tokens, s.width, s.dy), dx(s.tokens, s.width, s.dx);
  simt::Memory<float> weight(size_t(offset + s.width)), gradient(size_t(s.width));
  simt::Memory<float> workspace(size_t(rmsnorm_workspace(s.tokens, s.width)));
  std::copy(s.weight.begin(), s.weight.end(), weight.begin() + offset);
  fill(gradient, s.weight_gradient);
  EXPECT_RUNS(rmsnorm_backward(
      &stream, RmsNormBackward<T>{s.tokens, s.width, x.data(), x.pitch(), weight.data() + offset,
                                  kEps, dy.data(), dy.pitch(), dx.data(), dx.pitch(),
                                  gradient.data(), workspace.data()}));
  EXPECT(dx.padding_survives());
  return {dx.values(), as_float(gradient)};
}

template <class Body>
void for_samples(const Body& body) {
  on_both_types([&](auto type) {
    for (const int64_t tokens : kTokens)
      for (const int64_t width : kWidths)
        for (const int64_t offset : kOffsets)
          if (tokens < 100 || width < 1000) body(type, Sample::make(type, tokens, width), offset);
  });
}

}  // namespace

TEST(rmsnormIsExactOnEqualPowersOfTwo) {
  on_both_types([](auto type) {
    using T = decltype(type);
    simt::Stream stream;
    Rows<T> x(3, 4, {2, -2, 2, 2, 4, 4, -4, 4, 0, 0, 0, 0}), y(3, 4);
    simt::Memory<float> weight(4);
    fill(weight, {1, 2, 3, 4});
    EXPECT_RUNS(rmsnorm_forward(&stream, RmsNormForward<T>{3, 4, x.data(), x.pitch(), weight.data(),
                                                           1e-12f, y.data(), y.pitch()}));
    EXPECT_SAME_BITS(y.values(), (std::vector<float>{1, -2, 3, 4, 1, 2, -3, 4, 0, 0, 0, 0}));
  });
}

TEST(rmsnormNormalisesEachToken) {
  for_samples([](auto type, const Sample& s, int64_t offset) {
    using T = decltype(type);
    const std::vector<float> y = forward(type, s, 1, offset);
    std::vector<double> expected(s.x.size());
    for (size_t i = 0; i < expected.size(); ++i)
      expected[i] = double(s.x[i]) * s.inverse_rms(int64_t(i) / s.width) *
                    double(s.weight[i % size_t(s.width)]);
    // The sum of squares, r and two products; in bf16 both products are rounded once more.
    EXPECT_WITHIN(y, expected, [&](size_t i) {
      return double(s.width + 8) * kFloatHalf * std::fabs(expected[i]) +
             2.01 * rounding<T>(expected[i]);
    });
    EXPECT_SAME_BITS(forward(type, s, 2, offset), y);
  });
}

TEST(rmsnormMayOverwriteItsInput) {
  on_both_types([](auto type) {
    using T = decltype(type);
    const Sample s = Sample::make(type, 3, 131);
    simt::Stream stream;
    Rows<T> x(s.tokens, s.width, s.x);
    simt::Memory<float> weight(s.weight.size());
    fill(weight, s.weight);
    EXPECT_RUNS(
        rmsnorm_forward(&stream, RmsNormForward<T>{s.tokens, s.width, x.data(), x.pitch(),
                                                   weight.data(), kEps, x.data(), x.pitch()}));
    EXPECT_SAME_BITS(x.values(), forward(type, s, 1, 0));
  });
}

TEST(rmsnormGradientsAddToWhatIsThere) {
  for_samples([](auto type, const Sample& s, int64_t offset) {
    using T = decltype(type);
    const auto [dx, dw] = backward(type, s, 1, offset);
    const size_t width = size_t(s.width);
    std::vector<double> dx_expected = as_double(s.dx), dw_expected = as_double(s.weight_gradient);
    std::vector<double> dx_terms(dx.size()), dw_terms(width);  // the same of absolute values
    for (size_t t = 0; t < size_t(s.tokens); ++t) {
      const double r = s.inverse_rms(int64_t(t));
      double mean = 0, terms = 0;
      for (size_t f = 0; f < width; ++f) {
        const size_t i = t * width + f;
        const double product =
            double(s.x[i]) * double(s.weight[f]) * double(s.dy[i]) / double(width);
        mean += product;
        terms += std::fabs(product);
        const double normed = double(s.dy[i]) * double(s.x[i]) * r;
        dw_expected[f] += normed;
        dw_terms[f] += std::fabs(normed);
      }
      for (size_t f = 0; f < width; ++f) {
        const size_t i = t * width + f;
        const double direct = double(s.weight[f]) * double(s.dy[i]), x = double(s.x[i]);
        dx_expected[i] += r * (direct - x * r * r * mean);
        dx_terms[i] =
            std::fabs(double(s.dx[i])) + r * (std::fabs(direct) + std::fabs(x) * r * r * terms);
      }
    }
    const double half = 2 * double(s.width + 8) * kFloatHalf;
    EXPECT_WITHIN(dx, dx_expected, [&](size_t i) {
      return half * dx_terms[i] + rounding<T>(dx_expected[i]) * 1.01;
    });
    // x r is rounded to T in each term.
    EXPECT_WITHIN(dw, dw_expected, [&](size_t f) {
      return (half + double(s.tokens + 4) * kFloatHalf + 1.01 * rounding<T>(1.0)) * dw_terms[f] +
             kFloatHalf * std::fabs(dw_expected[f]);
    });
    const auto again = backward(type, s, 2, offset);
    EXPECT_SAME_BITS(again.first, dx);
    EXPECT_SAME_BITS(again.second, dw);
  });
}

TEST(rmsnormWithoutWeightGradientGivesTheSameDx) {
  on_both_types([](auto type) {
    using T = decltype(type);
    const Sample s = Sample::make(type, 5, 131);
    simt::Stream stream;
    Rows<T> x(s.tokens, s.width, s.x), dy(s.tokens, s.width, s.dy), dx(s.tokens, s.width, s.dx);
    simt::Memory<float> weight(s.weight.size());
    fill(weight, s.weight);
    EXPECT_RUNS(rmsnorm_backward(
        &stream,
        RmsNormBackward<T>{s.tokens, s.width, x.data(), x.pitch(), weight.data(), kEps, dy.data(),
                           dy.pitch(), dx.data(), dx.pitch(), nullptr, nullptr}));
    EXPECT_SAME_BITS(dx.values(), backward(type, s, 1, 0).first);
  });
}

TEST(rmsnormOfNoTokensDoesNothing) {
  simt::Stream stream;
  EXPECT_RUNS(rmsnorm_forward(&stream, RmsNormForward<float>{}));
  EXPECT_RUNS(rmsnorm_backward(&stream, RmsNormBackward<float>{}));
}
