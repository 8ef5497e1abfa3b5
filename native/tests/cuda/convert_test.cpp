#include "cuda/convert.h"

#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

template <class Source, class Target>
std::vector<float> convert(int64_t rows, int64_t columns, const std::vector<float>& source,
                           const std::vector<float>& before, int64_t pitch, int64_t offset) {
  simt::Stream stream;
  Rows<Source> from(rows, columns, source, pitch);
  Rows<Target> to(rows, offset + columns);
  if (!before.empty()) to.write(offset, columns, before);
  EXPECT_RUNS(convert_rows(
      &stream, ConvertRows<Source, Target>{rows, columns, from.data(), from.pitch(),
                                           to.data() + offset, to.pitch(), !before.empty()}));
  EXPECT(to.untouched_outside({{offset, offset + columns}}));
  return to.read(offset, columns);
}

// body(Source(), Target()) for all four pairs.
template <class Body>
void on_all_pairs(const Body& body) {
  on_both_types([&](auto source) { on_both_types([&](auto target) { body(source, target); }); });
}

}  // namespace

TEST(rowsKeepTheirValuesOrRoundThem) {
  on_all_pairs([](auto from, auto to) {
    using Source = decltype(from);
    using Target = decltype(to);
    for (const int64_t columns : {1, 7, 64, 131, 2057}) {
      const std::vector<float> values = as<Source>(Random(1).normal(3 * columns));
      const std::vector<float> before = as<Target>(Random(2).normal(3 * columns));
      std::vector<float> sums(values.size());
      for (size_t i = 0; i < sums.size(); ++i) sums[i] = values[i] + before[i];
      // Pitches and columns that are aligned, and that are not.
      for (const int64_t pitch : {int64_t(0), columns, columns + 5})
        for (const int64_t offset : {0, 8, 3}) {
          EXPECT_SAME_BITS((convert<Source, Target>(3, columns, values, {}, pitch, offset)),
                           as<Target>(values));
          EXPECT_SAME_BITS((convert<Source, Target>(3, columns, values, before, pitch, offset)),
                           as<Target>(sums));
        }
    }
  });
}

TEST(everyBf16SurvivesARoundTrip) {
  simt::Stream stream;
  simt::Memory<bf16> all(65536), back(65536);
  simt::Memory<float> floats(65536);
  for (size_t i = 0; i < 65536; ++i) all[i] = bf16(i);
  EXPECT_RUNS(convert_rows(
      &stream, ConvertRows<bf16, float>{8, 8192, all.data(), 8192, floats.data(), 8192, false}));
  EXPECT_RUNS(convert_rows(
      &stream, ConvertRows<float, bf16>{8, 8192, floats.data(), 8192, back.data(), 8192, false}));
  for (size_t i = 0; i < 65536; ++i)
    EXPECT(back[i] == all[i] || (std::isnan(widen(all[i])) && std::isnan(widen(back[i]))));
}

TEST(convertingNothingDoesNothing) {
  simt::Stream stream;
  EXPECT_RUNS(convert_rows(&stream, ConvertRows<float, bf16>{}));
}
