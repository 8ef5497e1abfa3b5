#include "layers_testing.h"

using namespace rora;
using namespace rora::testing;

namespace {

class Rope {
 public:
  Rope(rora_context* context, int64_t positions, const std::vector<float>& inverse_frequencies) {
    EXPECT_OK(rora_rope_create(context, positions, 2 * int64_t(inverse_frequencies.size()),
                               inverse_frequencies.data(), &rope_));
  }
  ~Rope() { rora_rope_destroy(rope_); }
  Rope(const Rope&) = delete;
  Rope& operator=(const Rope&) = delete;
  operator rora_rope*() const { return rope_; }

 private:
  rora_rope* rope_ = nullptr;
};

std::vector<float> frequencies(int64_t head_dim) {
  std::vector<float> result;
  for (int64_t i = 0; i < head_dim / 2; ++i)
    result.push_back(float(std::pow(10000.0, -2.0 * double(i) / double(head_dim))));
  return result;
}

}  // namespace

TEST(ropeRotatesPairsHalfAHeadApart) {
  on_every_level([](const Case& c) {
    Random random(1);
    const int64_t heads = 3, column = 2;
    for (const int64_t tokens : token_counts())
      for (const int64_t dim : {2, 6, 16, 64, 128}) {
        const int64_t width = column + heads * dim + 1;  // columns on both sides stay as they are
        const Packed packed(document_lengths(tokens));
        Batch batch(c.context, packed);
        const std::vector<float> f = frequencies(dim),
                                 x = rounded(random.normal(tokens * width), c.dtype);
        Rope rope(c.context, 128, f);
        Tensor y(c.context, c.dtype, tokens, width, x);
        EXPECT_OK(rora_rope_apply(rope, batch, column, heads, 0, y));
        std::vector<double> expected = as_double(x), terms = as_double(x);
        for (int64_t t = 0; t < tokens; ++t)
          for (int64_t i = 0; i < heads * dim; ++i) {
            if (i % dim >= dim / 2) continue;
            const float angle = float(packed.positions[size_t(t)]) * f[size_t(i % dim)];
            const size_t at = size_t(t * width + column + i), other = at + size_t(dim / 2);
            const double a = double(x[at]), b = double(x[other]);
            const double cosine = std::cos(double(angle)), sine = std::sin(double(angle));
            expected[at] = a * cosine - b * sine;
            expected[other] = b * cosine + a * sine;
            terms[at] = terms[other] = std::fabs(a) + std::fabs(b);
          }
        EXPECT_CASE(c.name, y.values(), expected, [&](size_t i) {
          return 4 * kFloatHalf * std::fabs(terms[i]) + storage_bound(c.dtype, expected[i]);
        });
        EXPECT(y.padding_is_zero());
      }
  });
}

TEST(ropeThenItsInverseGivesTheInputBack) {
  on_every_level([](const Case& c) {
    Random random(2);
    const Packed packed({70, 60});
    Batch batch(c.context, packed);
    Rope rope(c.context, 70, frequencies(16));
    const std::vector<float> x = rounded(random.normal(130 * 32), c.dtype);
    Tensor y(c.context, c.dtype, 130, 32, x);
    EXPECT_OK(rora_rope_apply(rope, batch, 0, 2, 0, y));
    EXPECT_OK(rora_rope_apply(rope, batch, 0, 2, 1, y));
    // Each of two rotations rounds values up to sqrt(2) times the larger of a pair.
    const double half = c.dtype == RORA_F32 ? 6 * kFloatHalf : 3 * kBf16Half;
    const std::vector<double> expected = as_double(x);
    EXPECT_CASE(c.name, y.values(), expected, [&](size_t i) {
      const size_t other = i % 16 < 8 ? i + 8 : i - 8;
      return 2 * half * (std::fabs(expected[i]) + std::fabs(expected[other]));
    });
  });
}

TEST(ropeLeavesPositionZeroAlone) {
  on_every_level([](const Case& c) {
    const Packed packed(std::vector<int>(65, 1));
    Batch batch(c.context, packed);
    Rope rope(c.context, 1, frequencies(4));
    Random random(3);
    const std::vector<float> x = rounded(random.normal(65 * 8), c.dtype);
    Tensor y(c.context, c.dtype, 65, 8, x);
    EXPECT_OK(rora_rope_apply(rope, batch, 0, 2, 0, y));
    EXPECT_SAME_BITS(y.values(), x);
  });
}

TEST(ropeRefusesBadArgumentsAndWritesNothing) {
  Context context("portable");
  const Packed packed({3});
  Batch batch(context, packed);
  Rope rope(context, 2, frequencies(4)), longer(context, 8, frequencies(4));
  Tensor x(context, RORA_F32, 3, 6, std::vector<float>(18, 1.0f));
  rora_rope* none = nullptr;
  const float bad[] = {1.0f, INFINITY};
  EXPECT_ERROR(rora_rope_create(context, 0, 4, bad, &none), RORA_INVALID_ARGUMENT, "positions=0");
  EXPECT_ERROR(rora_rope_create(context, 4, 3, bad, &none), RORA_INVALID_ARGUMENT, "head_dim=3");
  EXPECT_ERROR(rora_rope_create(context, 4, 4, bad, &none), RORA_INVALID_ARGUMENT, "[1]");
  EXPECT_ERROR(rora_rope_create(context, INT64_MAX / 8 + 1, 4, bad, &none), RORA_INVALID_ARGUMENT,
               "too large");
  EXPECT(none == nullptr);
  EXPECT_ERROR(rora_rope_apply(rope, batch, 0, 1, 0, x), RORA_INVALID_ARGUMENT, "position 2");
  EXPECT_ERROR(rora_rope_apply(longer, batch, 1, 1, 0, x), RORA_INVALID_ARGUMENT, "even");
  EXPECT_ERROR(rora_rope_apply(longer, batch, 4, 1, 0, x), RORA_INVALID_ARGUMENT, "width of 6");
  EXPECT_ERROR(rora_rope_apply(longer, batch, 0, -1, 0, x), RORA_INVALID_ARGUMENT, "heads=-1");
  EXPECT_SAME_BITS(x.values(), std::vector<float>(18, 1.0f));
}
