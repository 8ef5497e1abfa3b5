#include <cstring>

#include "handles.h"

using namespace rora::testing;

namespace {

float float_of(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// The value of a half by its definition.
double half_value(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const double sign = bits >> 15 ? -1.0 : 1.0;
  if (exponent == 0) return sign * std::ldexp(fraction, -24);
  return sign * std::ldexp(1024 + fraction, exponent - 25);
}

}  // namespace

TEST(everyBf16ValueSurvivesWriteAndRead) {
  const Context context(levels().back());
  std::vector<uint16_t> source(65536);
  for (size_t i = 0; i < source.size(); ++i) source[i] = uint16_t(i);
  for (const rora_dtype stored : {RORA_BF16, RORA_F32}) {
    rora_weight* made = nullptr;
    EXPECT_OK(rora_weight_create(context, stored, 256, 256, &made));
    const WeightHandle weight(made);
    EXPECT_OK(rora_weight_write(made, 0, 256, RORA_BF16, source.data(), 256));
    std::vector<float> found(65536);
    EXPECT_OK(rora_weight_read(made, 0, 256, found.data(), 256));
    // Once more through float, where a bf16 weight rounds.
    EXPECT_OK(rora_weight_write(made, 0, 256, RORA_F32, found.data(), 256));
    std::vector<float> again(65536);
    EXPECT_OK(rora_weight_read(made, 0, 256, again.data(), 256));
    for (uint32_t i = 0; i < 65536; ++i) {
      const float expected = float_of(i << 16);
      const bool nan = std::isnan(expected);
      EXPECT(nan ? std::isnan(found[i]) : std::memcmp(&found[i], &expected, 4) == 0);
      EXPECT(nan ? std::isnan(again[i]) : std::memcmp(&again[i], &expected, 4) == 0);
    }
  }
}

TEST(floatsAreRoundedToTheNearestEvenBf16) {
  const Context context(levels().back());
  // 1 + 2^-8 lies half way between 1 and 1 + 2^-7; 1 + 3 * 2^-8 between odd and even; then just
  // off.
  const std::vector<float> source = {1.00390625f,
                                     1.01171875f,
                                     std::nextafter(1.00390625f, 2.0f),
                                     std::nextafter(1.00390625f, 0.0f),
                                     3.4028235e38f,
                                     -1.00390625f};
  const std::vector<float> expected = {1.0f, 1.015625f, 1.0078125f, 1.0f, INFINITY, -1.0f};
  const auto weight = make_weight(context, RORA_BF16, 2, 3, source);
  std::vector<float> found(6);
  EXPECT_OK(rora_weight_read(weight.get(), 0, 2, found.data(), 3));
  EXPECT_SAME_BITS(found, expected);
}

TEST(everyHalfBecomesItsFloat) {
  const Context context(levels().back());
  std::vector<uint16_t> source(65536);
  for (size_t i = 0; i < source.size(); ++i) source[i] = uint16_t(i);
  rora_weight* made = nullptr;
  EXPECT_OK(rora_weight_create(context, RORA_F32, 256, 256, &made));
  const WeightHandle weight(made);
  EXPECT_OK(rora_weight_write(made, 0, 256, RORA_F16, source.data(), 256));
  std::vector<float> found(65536);
  EXPECT_OK(rora_weight_read(made, 0, 256, found.data(), 256));
  for (uint32_t i = 0; i < 65536; ++i) {
    const bool special = (i & 0x7c00) == 0x7c00;
    if (special && (i & 1023)) {
      EXPECT(std::isnan(found[i]));
      continue;
    }
    const float expected =
        special ? (i >> 15 ? -INFINITY : INFINITY) : float(half_value(uint16_t(i)));
    EXPECT(std::memcmp(&found[i], &expected, 4) == 0);
  }
}

TEST(rowsAreWrittenAndReadWithStridesAndPaddingSurvives) {
  const Context context(levels().back());
  Random random(3);
  for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) {
    rora_weight* made = nullptr;
    EXPECT_OK(rora_weight_create(context, dtype, 5, 7, &made));
    const WeightHandle weight(made);
    const std::vector<float> source = random.integers(2 * 10, 100);
    EXPECT_OK(rora_weight_write(made, 2, 2, RORA_F32, source.data(), 10));
    const float nan = std::nanf("");
    std::vector<float> target(5 * 9, nan);
    EXPECT_OK(rora_weight_read(made, 0, 5, target.data(), 9));
    for (size_t n = 0; n < 5; ++n)
      for (size_t k = 0; k < 9; ++k) {
        const float found = target[n * 9 + k];
        if (k >= 7)
          EXPECT(std::isnan(found));
        else
          EXPECT(found == (n == 2 || n == 3 ? source[(n - 2) * 10 + k] : 0.0f));
      }
  }
}

TEST(masterRoundsIntoTheWeightAndBack) {
  const Context context(levels().back());
  Random random(4);
  const std::vector<float> values = random.normal(6 * 11);
  const Floats master(context, values), gradient(context, 6 * 11);
  rora_weight* made = nullptr;
  EXPECT_OK(rora_weight_create(context, RORA_BF16, 6, 11, &made));
  const WeightHandle weight(made);
  EXPECT_ERROR(rora_weight_refresh(made), RORA_INVALID_ARGUMENT, "rora_weight_train first");
  EXPECT_ERROR(rora_weight_to_master(made), RORA_INVALID_ARGUMENT, "rora_weight_train first");
  EXPECT_ERROR(rora_weight_train(made, master.get(), nullptr), RORA_INVALID_ARGUMENT, "both");
  EXPECT_OK(rora_weight_train(made, master.get(), gradient.get()));
  EXPECT_OK(rora_weight_refresh(made));
  EXPECT_SAME_BITS(master.values(), values);
  std::vector<float> found(66);
  EXPECT_OK(rora_weight_read(made, 0, 6, found.data(), 11));
  EXPECT_SAME_BITS(found, rounded(values, RORA_BF16));
  EXPECT_OK(rora_weight_to_master(made));
  EXPECT_SAME_BITS(master.values(), rounded(values, RORA_BF16));
  EXPECT_OK(rora_weight_train(made, nullptr, nullptr));
  EXPECT_ERROR(rora_weight_refresh(made), RORA_INVALID_ARGUMENT, "rora_weight_train first");
}

TEST(rowNormsAreRootsOfSquares) {
  const Context context(levels().back());
  const auto weight = make_weight(context, RORA_F32, 3, 2, {3, 4, 0, 0, -5, 12});
  std::vector<float> norms(3);
  EXPECT_OK(rora_weight_row_norms(weight.get(), norms.data()));
  EXPECT_SAME_BITS(norms, (std::vector<float>{5, 0, 13}));
  EXPECT_ERROR(rora_weight_row_norms(weight.get(), nullptr), RORA_INVALID_ARGUMENT, "norms");
}

TEST(badWeightArgumentsAreRefused) {
  const Context context(levels().back());
  rora_weight* made = nullptr;
  const int64_t most = INT32_MAX;
  EXPECT_ERROR(rora_weight_create(context, RORA_F16, 1, 1, &made), RORA_INVALID_ARGUMENT,
               "dtype=2");
  EXPECT_ERROR(rora_weight_create(context, RORA_F32, 0, 1, &made), RORA_INVALID_ARGUMENT, "[0, 1]");
  EXPECT_ERROR(rora_weight_create(context, RORA_F32, 1, most + 1, &made), RORA_INVALID_ARGUMENT,
               "2^31 - 1");
  EXPECT_ERROR(rora_weight_create(nullptr, RORA_F32, 1, 1, &made), RORA_INVALID_ARGUMENT,
               "context");
  EXPECT_ERROR(rora_weight_create(context, RORA_F32, 1, 1, nullptr), RORA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(rora_weight_create(context, RORA_F32, most, most, &made), RORA_OUT_OF_MEMORY,
               "out of memory");
  EXPECT(made == nullptr);
  EXPECT(rora_context_bytes(context) == 0);
  EXPECT_OK(rora_weight_create(context, RORA_F32, 4, 3, &made));
  const WeightHandle weight(made);
  std::vector<float> values(12, 1.0f);
  EXPECT_ERROR(rora_weight_write(made, 3, 2, RORA_F32, values.data(), 3), RORA_INVALID_ARGUMENT,
               "out_features (4)");
  EXPECT_ERROR(rora_weight_write(made, -1, 2, RORA_F32, values.data(), 3), RORA_INVALID_ARGUMENT,
               "rows -1");
  EXPECT_ERROR(rora_weight_write(made, 0, INT64_MAX, RORA_F32, values.data(), 3),
               RORA_INVALID_ARGUMENT, "rows 0");
  EXPECT_ERROR(rora_weight_write(made, 0, 4, RORA_F32, values.data(), 2), RORA_INVALID_ARGUMENT,
               "stride=2: must be at least in_features (3)");
  EXPECT_ERROR(rora_weight_write(made, 0, 4, RORA_F32, nullptr, 3), RORA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(rora_weight_write(made, 0, 4, rora_dtype(3), values.data(), 3),
               RORA_INVALID_ARGUMENT, "source_dtype=3");
  EXPECT_ERROR(rora_weight_read(made, 0, 5, values.data(), 3), RORA_INVALID_ARGUMENT,
               "rows 0 .. +5");
  EXPECT_ERROR(rora_weight_read(nullptr, 0, 1, values.data(), 3), RORA_INVALID_ARGUMENT,
               "weight is NULL");
  EXPECT_OK(rora_weight_read(made, 0, 4, values.data(), 3));
  EXPECT_SAME_BITS(values, std::vector<float>(12, 0.0f));  // nothing was written
  EXPECT_OK(rora_weight_write(made, 4, 0, RORA_F32, nullptr, 3));
  rora_weight_destroy(nullptr);
}

// Weights of 512 KB stand side by side in blocks; some go, one block is given up, others come.
TEST(weightsThatShareABlockKeepTheirValuesAndAreCounted) {
  const Context context(levels().back());
  const int64_t empty = rora_context_bytes(context), bytes = int64_t(512) * 512 * 2;
  std::vector<WeightHandle> weights;
  std::vector<float> found(512 * 512);
  for (int i = 0; i < 150; ++i) {
    weights.push_back(
        make_weight(context, RORA_BF16, 512, 512, std::vector<float>(512 * 512, float(i))));
    EXPECT(rora_context_bytes(context) == empty + bytes * (i + 1));
  }
  weights.erase(weights.begin() + 10, weights.begin() + 130);
  rora_weight* fresh = nullptr;
  EXPECT_OK(rora_weight_create(context, RORA_BF16, 512, 512, &fresh));
  weights.push_back(WeightHandle(fresh));
  for (size_t i = 0; i < weights.size(); ++i) {
    EXPECT_OK(rora_weight_read(weights[i].get(), 0, 512, found.data(), 512));
    const float expected = i < 10 ? float(i) : i + 1 < weights.size() ? float(i + 120) : 0.0f;
    EXPECT(found == std::vector<float>(512 * 512, expected));
  }
  weights.clear();
  EXPECT(rora_context_bytes(context) == empty);
}
