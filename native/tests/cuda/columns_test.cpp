#include "cuda/columns.h"

#include <algorithm>

#include "cpu/philox.h"
#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

// Less and more than a stripe of tokens and a block of columns; none divides them.
constexpr std::pair<int64_t, int64_t> kShapes[] = {{1, 1}, {127, 5}, {129, 257}, {300, 64}};

struct Sample {
  int64_t tokens, columns;
  std::vector<float> dy, other, divisor, before;
};

template <class T>
Sample make_sample(int64_t tokens, int64_t columns, bool whole) {
  Random random(uint64_t(tokens * 1000 + columns));
  const auto values = [&](int64_t count) {
    return as<T>(whole ? random.integers(count, 5) : random.normal(count));
  };
  Sample s = {tokens, columns, values(tokens * columns), values(tokens * columns), {}, {}};
  for (int64_t n = 0; n < columns; ++n) {
    s.divisor.push_back(n % 3 == 2 ? 0.0f : float(1 << (n % 4)));
    s.before.push_back(float(n % 7));
  }
  return s;
}

template <class T>
std::vector<float> sums(const Sample& s, bool other, bool divides, uint64_t seed) {
  simt::Stream stream(seed);
  Rows<T> dy(s.tokens, s.columns, s.dy), factor(s.tokens, s.columns, s.other);
  simt::Memory<float> divisor(s.divisor.size()), sum(s.before.size());
  simt::Memory<float> workspace(size_t(column_sums_workspace(s.tokens, s.columns)));
  fill(divisor, s.divisor), fill(sum, s.before);
  EXPECT_RUNS(column_sums(
      &stream, ColumnSums<T>{s.tokens, s.columns, dy.data(), dy.pitch(),
                             other ? factor.data() : nullptr, factor.pitch(),
                             divides ? divisor.data() : nullptr, sum.data(), workspace.data()}));
  return as_float(sum);
}

}  // namespace

TEST(columnSumsMatchDoubleLoops) {
  on_both_types([](auto type) {
    using T = decltype(type);
    for (const auto& [tokens, columns] : kShapes)
      for (const bool whole : {true, false})
        for (const bool other : {true, false})
          for (const bool divides : {true, false}) {
            const Sample s = make_sample<T>(tokens, columns, whole);
            std::vector<double> expected, terms;
            for (int64_t n = 0; n < columns; ++n) {
              double sum = 0, absolute = 0;
              for (int64_t t = 0; t < tokens; ++t) {
                const size_t i = size_t(t * columns + n);
                const double term = double(s.dy[i]) * (other ? double(s.other[i]) : 1.0);
                sum += term, absolute += std::fabs(term);
              }
              const double divisor = divides ? double(s.divisor[size_t(n)]) : 1.0;
              const bool adds = divisor > 0;
              expected.push_back(double(s.before[size_t(n)]) + (adds ? sum / divisor : 0.0));
              terms.push_back(adds ? absolute / divisor : 0.0);
            }
            const std::vector<float> found = sums<T>(s, other, divides, 1);
            // Up to 128 terms in float, products included; then the sum is rounded and added.
            EXPECT_WITHIN(found, expected, [&](size_t n) {
              return whole ? 0.0
                           : 130 * kFloatHalf * terms[n] + 2 * kFloatHalf * std::fabs(expected[n]);
            });
            EXPECT_SAME_BITS(sums<T>(s, other, divides, 2), found);
          }
  });
}

TEST(maskedRowsAreTheCpusMaskTimesTheRows) {
  on_both_types([](auto type) {
    using T = decltype(type);
    const int64_t tokens = 5, columns = 37;
    const std::vector<int32_t> order = {0, 7, 63, 100000, 2147483647};
    const uint64_t seed = 99, step = 3;
    Random random(5);
    const std::vector<float> values = as<T>(random.normal(tokens * columns));
    Rows<T> source(tokens, columns, values), target(tokens, columns);
    simt::Memory<int32_t> numbers(order.size());
    std::copy(order.begin(), order.end(), numbers.begin());
    simt::Stream stream;
    EXPECT_RUNS(mask_rows(
        &stream, MaskRows<T>{tokens, columns, source.data(), source.pitch(), target.data(),
                             target.pitch(), numbers.data(), make_dropout(0.25f, seed, step, 11)}));
    std::vector<float> expected;
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t f = 0; f < columns; ++f) {
        const uint32_t word = dropout_word(seed, step, 11, order[size_t(t)], f);
        const float factor = word >= dropout_threshold(0.25f) ? 1.0f / 0.75f : 0.0f;
        expected.push_back(factor * values[size_t(t * columns + f)]);
      }
    EXPECT_SAME_BITS(target.values(), as<T>(expected));
    EXPECT(target.padding_survives());
  });
}

TEST(rowsAreGatheredAndScatteredAsTheyAre) {
  on_both_types([](auto type) {
    using T = decltype(type);
    const int64_t rows = 4, columns = 300;
    const std::vector<int32_t> index = {6, 0, 3, 5};
    Random random(6);
    const std::vector<float> values = as<T>(random.normal(7 * columns));
    Rows<T> all(7, columns, values), few(rows, columns), back(7, columns);
    simt::Memory<int32_t> device_index(index.size());
    std::copy(index.begin(), index.end(), device_index.begin());
    simt::Stream stream;
    EXPECT_RUNS(move_rows(&stream, MoveRows<T>{rows, columns, device_index.data(), all.data(),
                                               all.pitch(), few.data(), few.pitch(), false}));
    EXPECT_RUNS(move_rows(&stream, MoveRows<T>{rows, columns, device_index.data(), few.data(),
                                               few.pitch(), back.data(), back.pitch(), true}));
    const std::vector<float> gathered = few.values(), scattered = back.values();
    for (int64_t r = 0; r < 7; ++r)
      for (int64_t f = 0; f < columns; ++f) {
        const auto at = std::find(index.begin(), index.end(), int32_t(r));
        const size_t i = size_t(r * columns + f);
        if (at == index.end()) {
          EXPECT(std::isnan(scattered[i]));  // nobody wrote it
          continue;
        }
        EXPECT(gathered[size_t((at - index.begin()) * columns + f)] == values[i]);
        EXPECT(scattered[i] == values[i]);
      }
    EXPECT(few.padding_survives());
  });
}
