#include "layers_testing.h"

using namespace rora;
using namespace rora::testing;

namespace {

constexpr int64_t kRows = 11;

Packed random_ids(Random& random, int64_t tokens) {
  Packed packed({int(tokens)});
  for (int32_t& id : packed.ids) id = random.below(int(kRows));
  return packed;
}

}  // namespace

TEST(embeddingCopiesRowsExactly) {
  on_every_level([](const Case& c) {
    Random random(1);
    for (const rora_dtype table_dtype : {RORA_F32, RORA_BF16})
      for (const int64_t tokens : token_counts())
        for (const int64_t width : {int64_t(1), int64_t(8), int64_t(131)}) {
          const std::vector<float> table = rounded(random.normal(kRows * width), table_dtype);
          const Packed packed = random_ids(random, tokens);
          Matrix weight(c.context, table_dtype, kRows, width, table);
          Batch batch(c.context, packed);
          Tensor y(c.context, c.dtype, 0, width, {}, tokens);
          EXPECT_OK(rora_embedding_forward(weight, batch, y));
          std::vector<float> expected;
          for (const int32_t id : packed.ids)
            expected.insert(expected.end(), table.begin() + id * width,
                            table.begin() + (id + 1) * width);
          EXPECT_SAME_BITS(y.values(), rounded(expected, c.dtype));
          EXPECT(y.padding_is_zero());
        }
  });
}

TEST(embeddingGradientAddsUpTokensOfOneRow) {
  on_every_level([](const Case& c) {
    Random random(2);
    for (const int64_t tokens : token_counts())
      for (const int64_t width : {int64_t(1), int64_t(8), int64_t(131)}) {
        const Packed packed = random_ids(random, tokens);
        const std::vector<float> dy = random.integers(tokens * width, 100);
        std::vector<float> expected = random.integers(kRows * width, 100);
        Matrix weight(c.context, c.dtype, kRows, width, expected);
        Batch batch(c.context, packed);
        Tensor d(c.context, c.dtype, tokens, width, dy);
        d.spoil_unused_lanes(5.0f);
        Floats master(c.context, kRows * width), gradient(c.context, expected);
        EXPECT_OK(rora_weight_train(weight, master.get(), gradient.get()));
        EXPECT_OK(rora_embedding_backward(weight, batch, d));
        for (int64_t i = 0; i < tokens * width; ++i)
          expected[size_t(packed.ids[size_t(i / width)] * width + i % width)] += dy[size_t(i)];
        EXPECT_SAME_BITS(gradient.values(), expected);
      }
  });
}

TEST(embeddingRefusesBadArgumentsAndWritesNothing) {
  Context context("portable");
  Packed packed({2});
  packed.ids = {3, 4};
  Batch batch(context, packed);
  Matrix table(context, RORA_F32, 4, 2, std::vector<float>(8, 1.0f));
  Tensor y(context, RORA_F32, 2, 2, {5, 6, 7, 8}), small(context, RORA_F32, 1, 2);
  EXPECT_ERROR(rora_embedding_forward(table, batch, y), RORA_INVALID_ARGUMENT, "token 1 has id 4");
  EXPECT_ERROR(rora_embedding_backward(table, batch, y), RORA_INVALID_ARGUMENT,
               "rora_weight_train");
  EXPECT_ERROR(rora_embedding_forward(table, batch, small), RORA_INVALID_ARGUMENT, "room");
  EXPECT_ERROR(rora_embedding_forward(nullptr, batch, y), RORA_INVALID_ARGUMENT, "table is NULL");
  EXPECT_SAME_BITS(y.values(), (std::vector<float>{5, 6, 7, 8}));
}
