#include "cuda/dora.h"

#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

struct Sample {
  int64_t out, in, rank;
  float scaling;
  std::vector<float> w, a, b, magnitude;
};

template <class T>
Sample random_sample(T, int64_t out, int64_t in, int64_t rank) {
  Random random(uint64_t(out * 10000 + in * 100 + rank));
  return {out,
          in,
          rank,
          0.7f,
          as<T>(random.normal(out * in)),
          random.normal(rank * in),
          random.normal(out * rank, 0.3f),
          random.normal(out)};
}

struct Found {
  std::vector<float> norms, row_scale;
  std::vector<double> squares;
};

// Pitches as short as they may be, so that nothing is aligned, or of whole packs.
template <class T>
Found run(T, const Sample& s, bool aligned, uint64_t seed = 1) {
  simt::Stream stream(seed);
  Rows<T> w(s.out, s.in, s.w, aligned ? 0 : s.in);
  Rows<float> a(s.rank, s.in, s.a, aligned ? 0 : s.in), b(s.out, s.rank, s.b, aligned ? 0 : s.rank);
  simt::Memory<float> magnitude(s.magnitude.size()), norms(s.magnitude.size());
  simt::Memory<float> scale(s.magnitude.size());
  simt::Memory<float> workspace(size_t(dora_workspace(s.out, s.rank)));
  simt::Memory<double> squares(s.magnitude.size());
  fill(magnitude, s.magnitude);
  EXPECT_RUNS(
      row_squares(&stream, RowSquares<T>{s.out, s.in, w.data(), w.pitch(), squares.data()}));
  EXPECT_RUNS(dora_norms(
      &stream, DoraNorms<T>{s.out, s.in, s.rank, w.data(), w.pitch(), a.data(), a.pitch(), b.data(),
                            b.pitch(), s.scaling, magnitude.data(), squares.data(), norms.data(),
                            scale.data(), workspace.data()}));
  return {as_float(norms), as_float(scale), {squares.begin(), squares.end()}};
}

double base_square(const Sample& s, int64_t n) {
  double sum = 0;
  for (int64_t k = 0; k < s.in; ++k)
    sum += double(s.w[size_t(n * s.in + k)]) * double(s.w[size_t(n * s.in + k)]);
  return sum;
}

// |V[n]|^2 by its definition, and the bound of the error of the low-rank form: each of its dot
// products is a float sum of `in` terms.
struct Square {
  double value, bound;
};

Square square_of(const Sample& s, int64_t n) {
  double value = 0, terms = 0;
  for (int64_t k = 0; k < s.in; ++k) {
    const double w = double(s.w[size_t(n * s.in + k)]);
    double low = 0, low_terms = 0;
    for (int64_t j = 0; j < s.rank; ++j) {
      const double product = double(s.scaling) * double(s.b[size_t(n * s.rank + j)]) *
                             double(s.a[size_t(j * s.in + k)]);
      low += product;
      low_terms += std::fabs(product);
    }
    value += (w + low) * (w + low);
    terms += low_terms * (2 * std::fabs(w) + low_terms);
  }
  return {value, double(s.in + 4) * kFloatHalf * terms + 1e-13 * (value + terms)};
}

template <class Body>
void for_samples(const Body& body) {
  on_both_types([&](auto type) {
    body(type, random_sample(type, 1, 1, 1));
    body(type, random_sample(type, 7, 33, 3));
    body(type, random_sample(type, 65, 70, 16));
    body(type, random_sample(type, 130, 131, 17));
    body(type, random_sample(type, 5, 300, 70));
  });
}

}  // namespace

TEST(doraNormsAreExactOnIntegers) {
  on_both_types([](auto type) {
    Random random(1);
    Sample s = {70, 45, 18, 2.0f, {}, {}, {}, {}};
    s.w = random.integers(s.out * s.in, 5), s.a = random.integers(s.rank * s.in, 3);
    s.b = random.integers(s.out * s.rank, 3), s.magnitude = random.normal(s.out);
    const Found found = run(type, s, true);
    for (int64_t n = 0; n < s.out; ++n) {
      const float norm = float(std::sqrt(square_of(s, n).value));
      EXPECT(found.norms[size_t(n)] == norm);
      EXPECT(found.row_scale[size_t(n)] == s.magnitude[size_t(n)] / norm);
    }
  });
}

TEST(doraNormsMatchTheDefinition) {
  for_samples([](auto type, const Sample& s) {
    for (const bool aligned : {true, false}) {
      const Found found = run(type, s, aligned);
      std::vector<double> norms, bounds;
      for (int64_t n = 0; n < s.out; ++n) {
        const Square square = square_of(s, n);
        norms.push_back(std::sqrt(square.value));
        // sqrt(v + e) - sqrt(v) < e / sqrt(v)
        bounds.push_back(square.bound / norms.back() + 2 * kFloatHalf * norms.back());
        EXPECT(found.row_scale[size_t(n)] == s.magnitude[size_t(n)] / found.norms[size_t(n)]);
        EXPECT(std::fabs(found.squares[size_t(n)] - base_square(s, n)) <=
               double(s.in) * 0x1p-53 * base_square(s, n));
      }
      EXPECT_WITHIN(found.norms, norms, [&](size_t n) { return bounds[n]; });
      EXPECT_SAME_BITS(run(type, s, aligned, 2).norms, found.norms);
    }
  });
}

TEST(rowsOfNormZeroGetTheScaleZero) {
  on_both_types([](auto type) {
    Sample s = random_sample(type, 9, 40, 4);
    std::fill(s.w.begin() + 40, s.w.begin() + 80, 0.0f);
    std::fill(s.b.begin() + 4, s.b.begin() + 8, 0.0f);
    const Found found = run(type, s, true);
    EXPECT(found.norms[1] == 0.0f && found.row_scale[1] == 0.0f);
    EXPECT(found.norms[0] > 0.0f && found.row_scale[0] != 0.0f);
  });
}
