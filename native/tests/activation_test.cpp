#include <algorithm>
#include <cstring>

#include "cpu/panel.h"
#include "handles.h"

using namespace rora;
using namespace rora::testing;

namespace {

constexpr int64_t kSizes[] = {0, 1, 5, 63, 64, 65, 130};

std::vector<float> read_all(const rora_activation* a) {
  std::vector<float> values(size_t(a->tokens * a->width));
  EXPECT_OK(rora_activation_read(a, 0, a->tokens, 0, a->width, values.data(), a->width));
  return values;
}

void fill_tail(rora_activation& a, float value) {
  for (int64_t t = 0; t < panels(a.max_tokens) * kPanel; ++t)
    for (int64_t row = even(a.width); row < a.rows; ++row) set(a, t, row, value);
}

bool tail_is(const rora_activation& a, float value) {
  for (int64_t t = 0; t < panels(a.max_tokens) * kPanel; ++t)
    for (int64_t row = even(a.width); row < a.rows; ++row)
      if (get(a, t, row) != value) return false;
  return true;
}

}  // namespace

TEST(everyBf16ValueSurvivesInAnActivation) {
  const Context context("reference");
  std::vector<float> source(65536);
  for (uint32_t i = 0; i < 65536; ++i) {
    const uint32_t bits = i << 16;
    std::memcpy(&source[i], &bits, 4);
  }
  const auto a = make_activation(context, RORA_BF16, 256, 256);
  EXPECT_OK(rora_activation_write(a.get(), 0, 256, source.data(), 256));
  const std::vector<float> found = read_all(a.get());
  for (size_t i = 0; i < source.size(); ++i)
    EXPECT(std::isnan(source[i]) ? std::isnan(found[i])
                                 : std::memcmp(&found[i], &source[i], 4) == 0);
}

TEST(columnsAreWrittenAndReadWithStridesAndPaddingSurvives) {
  const Context context("reference", 3);
  for (const rora_dtype dtype : {RORA_F32, RORA_BF16})
    for (const int64_t tokens : kSizes) {
      Random random(5);
      const auto a = make_activation(context, dtype, tokens, 9, 3);
      const std::vector<float> base = random.normal(tokens * 9 + 1),
                               part = random.normal(tokens * 11 + 1);
      EXPECT_OK(rora_activation_write(a.get(), 0, 9, base.data(), 9));
      EXPECT_OK(rora_activation_write(a.get(), 3, 4, part.data(), 11));
      std::vector<float> found(size_t(tokens * 12 + 1), std::nanf(""));
      EXPECT_OK(rora_activation_read(a.get(), 0, tokens, 1, 8, found.data(), 12));
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t k = 0; k < 12; ++k) {
          const float value = found[size_t(t * 12 + k)];
          const int64_t column = k + 1;
          if (k >= 8) {
            EXPECT(std::isnan(value));
          } else {
            const float source = column >= 3 && column < 7 ? part[size_t(t * 11 + column - 3)]
                                                           : base[size_t(t * 9 + column)];
            EXPECT(value == (dtype == RORA_BF16 ? rounded_to_bf16(source) : source));
          }
        }
    }
}

TEST(rangesOfTokensAreRead) {
  const Context context("reference");
  const auto a = make_activation(context, RORA_F32, 130, 1);
  std::vector<float> source(130), found(10);
  for (size_t t = 0; t < 130; ++t) source[t] = float(t);
  EXPECT_OK(rora_activation_write(a.get(), 0, 1, source.data(), 1));
  EXPECT_OK(rora_activation_read(a.get(), 60, 10, 0, 1, found.data(), 1));
  for (size_t t = 0; t < 10; ++t) EXPECT(found[t] == float(60 + t));
}

TEST(writeZeroesTheLanesPastTheLastToken) {
  const Context context("reference");
  for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) {
    const auto a = make_activation(context, dtype, 70, 3);
    const std::vector<float> ones(70 * 3, 1.0f);
    EXPECT_OK(rora_activation_write(a.get(), 0, 3, ones.data(), 3));
    EXPECT_OK(rora_activation_resize(a.get(), 65));
    EXPECT_OK(rora_activation_write(a.get(), 0, 3, ones.data(), 3));
    for (int64_t t = 65; t < 128; ++t)
      for (int64_t row = 0; row < 3; ++row) EXPECT(get(*a, t, row) == 0.0f);
  }
}

TEST(copyConvertsAndLeavesTheTail) {
  const Context context("reference", 2);
  for (const rora_dtype from : {RORA_F32, RORA_BF16})
    for (const rora_dtype to : {RORA_F32, RORA_BF16})
      for (const int64_t tokens : kSizes) {
        Random random(6);
        const auto source = make_activation(context, from, tokens, 5, 2);
        const auto target = make_activation(context, to, 140, 5, 4);
        fill_tail(*source, 3.0f);
        fill_tail(*target, 2.0f);
        const std::vector<float> values = random.normal(tokens * 5 + 1);
        EXPECT_OK(rora_activation_write(source.get(), 0, 5, values.data(), 5));
        EXPECT_OK(rora_activation_copy(source.get(), target.get()));
        EXPECT(rora_activation_tokens(target.get()) == tokens);
        const std::vector<float> expected = rounded(read_all(source.get()), to);
        EXPECT_SAME_BITS(read_all(target.get()), expected);
        EXPECT(tail_is(*target, 2.0f));
      }
}

TEST(addIsASumOnEveryLevel) {
  for (const std::string& level : levels()) {
    const Context context(level, 3);
    for (const rora_dtype from : {RORA_F32, RORA_BF16})
      for (const rora_dtype to : {RORA_F32, RORA_BF16})
        for (const int64_t tokens : kSizes) {
          Random random(7);
          const auto source = make_activation(context, from, tokens, 7, 2);
          const auto target = make_activation(context, to, tokens, 7, 2);
          fill_tail(*source, 3.0f);
          fill_tail(*target, 2.0f);
          const std::vector<float> a = random.normal(tokens * 7 + 1),
                                   b = random.normal(tokens * 7 + 1);
          EXPECT_OK(rora_activation_write(source.get(), 0, 7, a.data(), 7));
          EXPECT_OK(rora_activation_write(target.get(), 0, 7, b.data(), 7));
          std::vector<float> expected = read_all(target.get());
          const std::vector<float> added = read_all(source.get());
          for (size_t i = 0; i < expected.size(); ++i) expected[i] += added[i];
          EXPECT_OK(rora_activation_add(source.get(), target.get()));
          EXPECT_SAME_BITS(read_all(target.get()), rounded(expected, to));
          EXPECT(tail_is(*target, 2.0f));
        }
  }
}

TEST(clearLeavesTheTailAndEndsAtTheTokens) {
  const Context context("reference");
  for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) {
    const auto a = make_activation(context, dtype, 130, 3, 2);
    const std::vector<float> ones(130 * 3, 1.0f);
    EXPECT_OK(rora_activation_write(a.get(), 0, 3, ones.data(), 3));
    fill_tail(*a, 2.0f);
    EXPECT_OK(rora_activation_clear(a.get()));
    EXPECT_SAME_BITS(read_all(a.get()), std::vector<float>(130 * 3, 0.0f));
    EXPECT(tail_is(*a, 2.0f));
  }
}

TEST(tokensAreCopiedBetweenAndWithinActivations) {
  const Context context("reference");
  for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) {
    const auto source = make_activation(context, dtype, 130, 3),
               target = make_activation(context, RORA_F32, 70, 3);
    std::vector<float> values(130 * 3);
    for (size_t i = 0; i < values.size(); ++i) values[i] = float(i % 251);
    EXPECT_OK(rora_activation_write(source.get(), 0, 3, values.data(), 3));
    EXPECT_OK(rora_activation_copy_tokens(source.get(), 60, target.get(), 1, 8));
    std::vector<float> expected(70 * 3, 0.0f);
    std::copy(values.begin() + 180, values.begin() + 204, expected.begin() + 3);
    EXPECT_SAME_BITS(read_all(target.get()), expected);
    EXPECT_OK(rora_activation_copy_tokens(source.get(), 0, source.get(), 2, 2));
    std::copy(values.begin(), values.begin() + 6, values.begin() + 6);
    EXPECT_SAME_BITS(read_all(source.get()), values);
    EXPECT_ERROR(rora_activation_copy_tokens(source.get(), 0, source.get(), 1, 2),
                 RORA_INVALID_ARGUMENT, "must not overlap");
    EXPECT_ERROR(rora_activation_copy_tokens(source.get(), 129, target.get(), 0, 2),
                 RORA_INVALID_ARGUMENT, "tokens 129 .. +2: must lie within the activation's (130)");
    EXPECT_ERROR(rora_activation_copy_tokens(source.get(), 0, target.get(), 70, 1),
                 RORA_INVALID_ARGUMENT, "(70)");
    EXPECT_SAME_BITS(read_all(target.get()), expected);
    EXPECT_OK(rora_activation_copy_tokens(source.get(), 130, target.get(), 70, 0));
  }
}

TEST(bytesAreThoseOfWholePanels) {
  const Context context("reference");
  const int64_t before = rora_context_bytes(context);
  const auto a = make_activation(context, RORA_BF16, 65, 7, 3);
  EXPECT(rora_activation_bytes(RORA_BF16, 65, 7, 3) == 2 * 64 * 12 * 2);
  EXPECT(rora_context_bytes(context) - before == 2 * 64 * 12 * 2);
  EXPECT(rora_activation_bytes(RORA_F32, 64, 8, 0) == 64 * 8 * 4);
}

TEST(badActivationArgumentsAreRefused) {
  const Context context("reference");
  rora_activation* made = nullptr;
  EXPECT_ERROR(rora_activation_create(context, RORA_F16, 1, 1, 0, &made), RORA_INVALID_ARGUMENT,
               "dtype=2");
  EXPECT_ERROR(rora_activation_create(context, RORA_F32, 0, 1, 0, &made), RORA_INVALID_ARGUMENT,
               "max_tokens=0");
  EXPECT_ERROR(rora_activation_create(context, RORA_F32, 1, 0, 0, &made), RORA_INVALID_ARGUMENT,
               "width=0");
  EXPECT_ERROR(rora_activation_create(context, RORA_F32, 1, 1, -1, &made), RORA_INVALID_ARGUMENT,
               "tail=-1");
  EXPECT_ERROR(rora_activation_create(nullptr, RORA_F32, 1, 1, 0, &made), RORA_INVALID_ARGUMENT,
               "context");
  EXPECT_ERROR(rora_activation_create(context, RORA_F32, 1, 1, 0, nullptr), RORA_INVALID_ARGUMENT,
               "NULL");
  const int64_t most = INT32_MAX;
  EXPECT_ERROR(rora_activation_create(context, RORA_F32, most, most, most, &made),
               RORA_OUT_OF_MEMORY, "out of memory");
  EXPECT(made == nullptr && rora_context_bytes(context) == 0);
  const auto a = make_activation(context, RORA_F32, 2, 3),
             b = make_activation(context, RORA_F32, 2, 4);
  const std::vector<float> ones(20, 1.0f);
  EXPECT_ERROR(rora_activation_resize(a.get(), 3), RORA_INVALID_ARGUMENT,
               "tokens=3: must be 0 .. 2");
  EXPECT_ERROR(rora_activation_resize(a.get(), -1), RORA_INVALID_ARGUMENT, "tokens=-1");
  EXPECT_ERROR(rora_activation_write(a.get(), 2, 2, ones.data(), 2), RORA_INVALID_ARGUMENT,
               "width (3)");
  EXPECT_ERROR(rora_activation_write(a.get(), -1, 2, ones.data(), 2), RORA_INVALID_ARGUMENT,
               "columns -1");
  EXPECT_ERROR(rora_activation_write(a.get(), 0, 3, ones.data(), 2), RORA_INVALID_ARGUMENT,
               "stride=2: must be at least the number of columns (3)");
  EXPECT_ERROR(rora_activation_write(a.get(), 0, 3, nullptr, 3), RORA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(rora_activation_write(nullptr, 0, 3, ones.data(), 3), RORA_INVALID_ARGUMENT, "NULL");
  EXPECT_SAME_BITS(read_all(a.get()), std::vector<float>(6, 0.0f));
  std::vector<float> target(6, 5.0f);
  EXPECT_ERROR(rora_activation_read(a.get(), 1, 2, 0, 3, target.data(), 3), RORA_INVALID_ARGUMENT,
               "tokens 1 .. +2");
  EXPECT_SAME_BITS(target, std::vector<float>(6, 5.0f));
  EXPECT_ERROR(rora_activation_copy(a.get(), b.get()), RORA_INVALID_ARGUMENT, "width 3");
  EXPECT_ERROR(rora_activation_add(a.get(), b.get()), RORA_INVALID_ARGUMENT, "same shape");
  EXPECT_ERROR(rora_activation_clear(nullptr), RORA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(rora_activation_copy_tokens(a.get(), 0, b.get(), 0, 1), RORA_INVALID_ARGUMENT,
               "width 3");
  rora_activation_destroy(nullptr);
}
