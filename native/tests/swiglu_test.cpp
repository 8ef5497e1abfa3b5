#include "layers_testing.h"

using namespace rora;
using namespace rora::testing;

namespace {

const int64_t kWidths[] = {1, 2, 9, 64, 301};

double silu(double gate) { return gate / (1 + std::exp(-gate)); }

struct GateUp {
  int64_t tokens, width;
  std::vector<float>
      values;  // [tokens, 2 * even(width)], zero in the column an odd width leaves over
  int64_t up_column() const { return even(width); }
  size_t gate(int64_t i) const { return size_t(i / width * 2 * up_column() + i % width); }
  size_t up(int64_t i) const { return gate(i) + size_t(up_column()); }
};

GateUp random_gate_up(Random& random, rora_dtype dtype, int64_t tokens, int64_t width) {
  GateUp g = {tokens, width, std::vector<float>(size_t(tokens * 2 * even(width)))};
  const std::vector<float> values = rounded(random.normal(2 * tokens * width, 3.0f), dtype);
  for (int64_t i = 0; i < tokens * width; ++i) {
    g.values[g.gate(i)] = values[size_t(2 * i)];
    g.values[g.up(i)] = values[size_t(2 * i + 1)];
  }
  return g;
}

}  // namespace

TEST(swigluMultipliesUpWithSiluOfGate) {
  on_every_level([](const Case& c) {
    Random random(1);
    for (const int64_t tokens : token_counts())
      for (const int64_t width : kWidths) {
        const GateUp g = random_gate_up(random, c.dtype, tokens, width);
        Tensor gate_up(c.context, c.dtype, tokens, 2 * even(width), g.values);
        Tensor y(c.context, c.dtype, 0, width, {}, tokens);
        EXPECT_OK(rora_swiglu_forward(gate_up, g.up_column(), y));
        std::vector<double> expected(static_cast<size_t>(tokens * width));
        for (int64_t i = 0; i < tokens * width; ++i)
          expected[size_t(i)] = silu(double(g.values[g.gate(i)])) * double(g.values[g.up(i)]);
        EXPECT_CASE(c.name, y.values(), expected, [&](size_t i) {
          return 10 * kFloatHalf * std::fabs(expected[i]) + storage_bound(c.dtype, expected[i]) +
                 1e-44;
        });
        EXPECT(y.padding_is_zero());
      }
  });
}

TEST(swigluKeepsItsLimits) {
  on_every_level([](const Case& c) {
    Tensor gate_up(c.context, c.dtype, 1, 8, {-200, 200, 0, -90, 1, 1, 1, 1});
    Tensor y(c.context, c.dtype, 1, 4);
    EXPECT_OK(rora_swiglu_forward(gate_up, 4, y));
    const std::vector<float> found = y.values();
    EXPECT(found[0] == 0 && found[1] == 200 && found[2] == 0);
    EXPECT(std::fabs(found[3]) < 1e-36f);
  });
}

TEST(swigluGradientIsTheCentralDifference) {
  on_every_level([](const Case& c) {
    Random random(2);
    for (const bool in_place : {false, true})
      for (const int64_t tokens : token_counts())
        for (const int64_t width : {int64_t(2), int64_t(9)}) {
          const GateUp g = random_gate_up(random, c.dtype, tokens, width);
          const std::vector<float> dy = rounded(random.normal(tokens * width), c.dtype);
          Tensor gate_up(c.context, c.dtype, tokens, 2 * even(width), g.values);
          Tensor other(c.context, c.dtype, 0, 2 * even(width), {}, tokens);
          Tensor d(c.context, c.dtype, tokens, width, dy);
          Tensor& target = in_place ? gate_up : other;
          EXPECT_OK(rora_swiglu_backward(gate_up, g.up_column(), d, target));
          std::vector<double> expected(g.values.size());
          for (int64_t i = 0; i < tokens * width; ++i) {
            const double gate = double(g.values[g.gate(i)]), up = double(g.values[g.up(i)]);
            const double h = 1e-5;
            expected[g.gate(i)] =
                double(dy[size_t(i)]) * up * (silu(gate + h) - silu(gate - h)) / (2 * h);
            expected[g.up(i)] = double(dy[size_t(i)]) * silu(gate);
          }
          // The central difference itself is good to about 1e-9 times the third derivative.
          EXPECT_CASE(c.name, target.values(), expected, [&](size_t i) {
            return 2e-6 + 16 * kFloatHalf * std::fabs(expected[i]) +
                   storage_bound(c.dtype, expected[i]);
          });
          EXPECT(target.padding_is_zero());
        }
  });
}

TEST(swigluRefusesBadArgumentsAndWritesNothing) {
  Context context("portable");
  Tensor gate_up(context, RORA_F32, 2, 8), y(context, RORA_F32, 2, 4, std::vector<float>(8, 7.0f));
  Tensor wide(context, RORA_F32, 2, 6), bf16(context, RORA_BF16, 2, 4);
  EXPECT_ERROR(rora_swiglu_forward(gate_up, 3, y), RORA_INVALID_ARGUMENT, "even");
  EXPECT_ERROR(rora_swiglu_forward(gate_up, 6, y), RORA_INVALID_ARGUMENT, "width of 8");
  EXPECT_ERROR(rora_swiglu_forward(gate_up, 2, y), RORA_INVALID_ARGUMENT, "up_column=2");
  EXPECT_ERROR(rora_swiglu_forward(gate_up, 4, wide), RORA_INVALID_ARGUMENT, "width of 8");
  EXPECT_ERROR(rora_swiglu_forward(gate_up, 4, bf16), RORA_INVALID_ARGUMENT, "bf16");
  EXPECT_ERROR(rora_swiglu_backward(gate_up, 4, y, y), RORA_INVALID_ARGUMENT, "same");
  EXPECT_ERROR(rora_swiglu_backward(gate_up, 4, nullptr, gate_up), RORA_INVALID_ARGUMENT, "dy");
  EXPECT_SAME_BITS(y.values(), std::vector<float>(8, 7.0f));
}
