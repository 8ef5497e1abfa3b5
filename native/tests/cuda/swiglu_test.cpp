#include "cuda/swiglu.h"

#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

const int64_t kTokens[] = {1, 3, 65};
const int64_t kWidths[] = {1, 7, 64, 131, 2057};

// Where up begins, behind gate: aligned for packs, or not.
std::vector<int64_t> up_columns(int64_t width) {
  return {(width + 7) / 8 * 8, width + (width & 1)};
}

struct Sample {
  int64_t tokens, width, up_column;
  std::vector<float> gate, up, dy;

  template <class T>
  Sample(T, int64_t tokens_, int64_t width_, int64_t up_column_)
      : tokens(tokens_), width(width_), up_column(up_column_) {
    Random random(uint64_t(tokens * 10000 + width));
    gate = as<T>(random.normal(tokens * width, 3.0f));
    up = as<T>(random.normal(tokens * width));
    dy = as<T>(random.normal(tokens * width));
  }

  template <class T>
  Rows<T> gate_up() const {
    return Rows<T>(tokens, up_column + width);
  }
};

template <class T>
void write(const Sample& s, Rows<T>& gate_up) {
  gate_up.write(0, s.width, s.gate);
  gate_up.write(s.up_column, s.width, s.up);
}

template <class T>
bool nothing_else_written(const Sample& s, const Rows<T>& gate_up) {
  return gate_up.untouched_outside({{0, s.width}, {s.up_column, s.up_column + s.width}});
}

template <class T>
std::vector<float> forward(T, const Sample& s, uint64_t seed) {
  simt::Stream stream(seed);
  auto gate_up = s.gate_up<T>();
  write(s, gate_up);
  Rows<T> y(s.tokens, s.width);
  EXPECT_RUNS(swiglu_forward(
      &stream, SwigluForward<T>{s.tokens, s.width, gate_up.data(), gate_up.data() + s.up_column,
                                gate_up.pitch(), y.data(), y.pitch()}));
  EXPECT(y.padding_survives());
  return y.values();
}

struct Gradient {
  std::vector<float> gate, up;
};

template <class T>
Gradient backward(T, const Sample& s, uint64_t seed, bool in_place) {
  simt::Stream stream(seed);
  auto gate_up = s.gate_up<T>(), apart = s.gate_up<T>();
  write(s, gate_up);
  Rows<T> dy(s.tokens, s.width, s.dy);
  Rows<T>& d = in_place ? gate_up : apart;
  EXPECT_RUNS(swiglu_backward(
      &stream, SwigluBackward<T>{s.tokens, s.width, gate_up.data(), gate_up.data() + s.up_column,
                                 gate_up.pitch(), dy.data(), dy.pitch(), d.data(),
                                 d.data() + s.up_column, d.pitch()}));
  EXPECT(nothing_else_written(s, d));
  return {d.read(0, s.width), d.read(s.up_column, s.width)};
}

double sigmoid(double value) { return 1 / (1 + std::exp(-value)); }

// Of a result made of products with sigmoid(gate): ten roundings, in bf16 also the faster e^x, and
// what is below float's range.
template <class T>
double bound(double gate, double terms, double result) {
  const double fast = std::is_same_v<T, float> ? 0 : 2 * (2 + std::fabs(gate)) * kFloatHalf;
  return (12 * kFloatHalf + fast) * terms + rounding<T>(result) * 1.01 + 1e-35;
}

template <class Body>
void for_samples(const Body& body) {
  on_both_types([&](auto type) {
    for (const int64_t tokens : kTokens)
      for (const int64_t width : kWidths)
        for (const int64_t column : up_columns(width))
          body(type, Sample(type, tokens, width, column));
  });
}

}  // namespace

TEST(swigluMultipliesSiluOfGateWithUp) {
  for_samples([](auto type, const Sample& s) {
    using T = decltype(type);
    const std::vector<float> y = forward(type, s, 1);
    std::vector<double> expected(y.size());
    for (size_t i = 0; i < y.size(); ++i)
      expected[i] = double(s.gate[i]) * sigmoid(double(s.gate[i])) * double(s.up[i]);
    EXPECT_WITHIN(y, expected, [&](size_t i) {
      return bound<T>(double(s.gate[i]), std::fabs(expected[i]), expected[i]);
    });
    EXPECT_SAME_BITS(forward(type, s, 2), y);
  });
}

TEST(swigluGradientsMatchTheFormulas) {
  for_samples([](auto type, const Sample& s) {
    using T = decltype(type);
    const Gradient d = backward(type, s, 1, false);
    std::vector<double> gate(d.gate.size()), up(d.up.size());
    std::vector<double> terms(d.gate.size());
    for (size_t i = 0; i < gate.size(); ++i) {
      const double g = double(s.gate[i]), dy = double(s.dy[i]), q = sigmoid(g);
      gate[i] = dy * double(s.up[i]) * q * (1 + g * (1 - q));
      terms[i] = std::fabs(dy * double(s.up[i]) * q) * (1 + std::fabs(g));
      up[i] = dy * g * q;
    }
    EXPECT_WITHIN(d.gate, gate,
                  [&](size_t i) { return bound<T>(double(s.gate[i]), terms[i], gate[i]); });
    EXPECT_WITHIN(d.up, up,
                  [&](size_t i) { return bound<T>(double(s.gate[i]), std::fabs(up[i]), up[i]); });
    const Gradient in_place = backward(type, s, 2, true);
    EXPECT_SAME_BITS(in_place.gate, d.gate);
    EXPECT_SAME_BITS(in_place.up, d.up);
  });
}

TEST(swigluOfExtremeGatesIsFinite) {
  on_both_types([](auto type) {
    using T = decltype(type);
    Sample s(type, 1, 8, 8);
    s.gate = {0, -0.0f, 88, -88, 200, -200, 3e38f, -3e38f};
    s.up = {1, 1, 1, 1, 1, 1, 1, 1};
    s.dy = s.up;
    const std::vector<double> silu = {0, 0, 88, 0, 200, 0, double(as<T>({3e38f})[0]), 0};
    const auto near = [](const std::vector<double>& expected) {
      return [&expected](size_t i) { return 1e-6 * std::fabs(expected[i]) + 1e-35; };
    };
    EXPECT_WITHIN(forward(type, s, 1), silu, near(silu));
    const Gradient d = backward(type, s, 1, false);
    const std::vector<double> slope = {0.5, 0.5, 1, 0, 1, 0, 1, 0};
    EXPECT_WITHIN(d.gate, slope, near(slope));
    EXPECT_WITHIN(d.up, silu, near(silu));
  });
}

TEST(swigluOfNoTokensDoesNothing) {
  simt::Stream stream;
  EXPECT_RUNS(swiglu_forward(&stream, SwigluForward<bf16>{}));
  EXPECT_RUNS(swiglu_backward(&stream, SwigluBackward<bf16>{}));
}
