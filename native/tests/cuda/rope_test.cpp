#include "cuda/rope.h"

#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

// Heads of head_dim features from a column on, in rows that end with another column.
struct Sample {
  int64_t tokens, heads, head_dim, column;
  std::vector<float> x, cosines, sines;
  std::vector<int32_t> positions;

  int64_t width() const { return column + heads * head_dim + 1; }
  int64_t half() const { return head_dim / 2; }
};

constexpr int kPositions = 50;

template <class T>
Sample make_sample(T, int64_t tokens, int64_t heads, int64_t head_dim, int64_t column) {
  Random random(uint64_t(tokens * 1000 + heads * 100 + head_dim + column));
  Sample s = {tokens, heads, head_dim, column, {}, {}, {}, {}};
  s.x = as<T>(random.normal(tokens * s.width()));
  for (int64_t i = 0; i < kPositions * s.half(); ++i) {
    const double angle = double(i / s.half()) * std::pow(0.7, double(i % s.half()));
    s.cosines.push_back(float(std::cos(angle)));
    s.sines.push_back(float(std::sin(angle)));
  }
  for (int64_t t = 0; t < tokens; ++t) s.positions.push_back(random.below(kPositions));
  return s;
}

template <class T>
std::vector<float> rotated(T, const Sample& s, bool inverse, uint64_t seed = 1) {
  simt::Stream stream(seed);
  Rows<T> x(s.tokens, s.width(), s.x);
  simt::Memory<float> cosines(s.cosines.size()), sines(s.sines.size());
  simt::Memory<int32_t> positions(s.positions.size());
  fill(cosines, s.cosines), fill(sines, s.sines);
  std::copy(s.positions.begin(), s.positions.end(), positions.begin());
  EXPECT_RUNS(rope(&stream, Rope<T>{s.tokens, s.heads, s.head_dim, positions.data(), cosines.data(),
                                    sines.data(), inverse, x.data() + s.column, x.pitch()}));
  EXPECT(x.padding_survives());
  return x.values();
}

// What rotated() should be, and the sums of the absolute values of its terms.
struct Expected {
  std::vector<double> y, terms;
};

Expected expected(const Sample& s, bool inverse) {
  std::vector<double> y = as_double(s.x), terms(y.size(), 0.0);
  for (int64_t t = 0; t < s.tokens; ++t)
    for (int64_t i = 0; i < s.heads * s.half(); ++i) {
      const int64_t angle = s.positions[size_t(t)] * s.half() + i % s.half();
      const double cosine = double(s.cosines[size_t(angle)]);
      const double sine = (inverse ? -1 : 1) * double(s.sines[size_t(angle)]);
      const size_t low =
          size_t(t * s.width() + s.column + i / s.half() * s.head_dim + i % s.half());
      const size_t high = low + size_t(s.half());
      const double a = double(s.x[low]), b = double(s.x[high]);
      y[low] = a * cosine - b * sine;
      y[high] = b * cosine + a * sine;
      terms[low] = std::fabs(a * cosine) + std::fabs(b * sine);
      terms[high] = std::fabs(b * cosine) + std::fabs(a * sine);
    }
  return {y, terms};
}

template <class Body>
void for_samples(const Body& body) {
  on_both_types([&](auto type) {
    // Heads of whole packs and others, columns on 16 bytes and not, more work than a block.
    body(type, make_sample(type, 1, 1, 2, 0));
    body(type, make_sample(type, 3, 2, 6, 2));
    body(type, make_sample(type, 5, 3, 64, 8));
    body(type, make_sample(type, 5, 3, 64, 6));
    body(type, make_sample(type, 2, 40, 128, 16));
  });
}

}  // namespace

TEST(ropeRotatesPairsOfFeatures) {
  for_samples([](auto type, const Sample& s) {
    using T = decltype(type);
    for (const bool inverse : {false, true}) {
      const Expected e = expected(s, inverse);
      const std::vector<float> found = rotated(type, s, inverse);
      // Two products, a sum; what is not in a head stays bit for bit.
      EXPECT_WITHIN(found, e.y, [&](size_t i) {
        return e.terms[i] == 0 ? 0 : 3 * kFloatHalf * e.terms[i] + 1.01 * rounding<T>(e.y[i]);
      });
      EXPECT_SAME_BITS(rotated(type, s, inverse, 2), found);
    }
  });
}

TEST(ropeByQuarterTurnsIsExact) {
  on_both_types([](auto type) {
    Sample s = make_sample(type, 4, 2, 16, 0);
    const float cosine[] = {1, 0, -1, 0}, sine[] = {0, 1, 0, -1};
    for (int64_t i = 0; i < 4 * s.half(); ++i) {
      s.cosines[size_t(i)] = cosine[i / s.half()];
      s.sines[size_t(i)] = sine[i / s.half()];
    }
    s.positions = {0, 1, 2, 3};
    const std::vector<double> y = expected(s, false).y;
    EXPECT_WITHIN(rotated(type, s, false), y, [](size_t) { return 0.0; });
    Sample back = s;
    back.x = rotated(type, s, false);
    EXPECT_WITHIN(rotated(type, back, true), as_double(s.x), [](size_t) { return 0.0; });
  });
}

TEST(ropeOfNoTokensDoesNothing) {
  simt::Stream stream;
  EXPECT_RUNS(rope(&stream, Rope<float>{}));
}
