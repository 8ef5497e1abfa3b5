#include "api/objects.h"
#include "handles.h"

using namespace rora::testing;

namespace {

// Host arrays of three tokens in two documents.
struct Arrays {
  std::vector<int32_t> ids = {7, 0, 9}, labels = {0, -100, 3}, positions = {0, 1, 0},
                       begins = {0, 0, 2}, order = {11, 12, 40};

  rora_status fill(rora_batch* batch, int64_t tokens = 3) const {
    return rora_batch_fill(batch, tokens, ids.data(), labels.data(), positions.data(),
                           begins.data(), order.data());
  }
};

std::vector<int32_t> first_three(const int32_t* values) { return {values, values + 3}; }

}  // namespace

TEST(batchKeepsItsArrays) {
  const Context context(levels().back());
  const auto batch = make_batch(context, 70);
  const Arrays arrays;
  EXPECT_OK(arrays.fill(batch.get()));
  EXPECT(batch->tokens == 3);
  EXPECT(first_three(batch->ids) == arrays.ids);
  EXPECT(first_three(batch->labels) == arrays.labels);
  EXPECT(first_three(batch->positions) == arrays.positions);
  EXPECT(first_three(batch->begins) == arrays.begins);
  EXPECT(first_three(batch->order) == arrays.order);
}

TEST(missingLabelsAreNoneAndMissingOrderCounts) {
  const Context context(levels().back());
  const auto batch = make_batch(context, 5);
  const Arrays arrays;
  EXPECT_OK(arrays.fill(batch.get()));
  EXPECT_OK(rora_batch_fill(batch.get(), 3, arrays.ids.data(), nullptr, arrays.positions.data(),
                            arrays.begins.data(), nullptr));
  EXPECT(first_three(batch->labels) == (std::vector<int32_t>{-100, -100, -100}));
  EXPECT(first_three(batch->order) == (std::vector<int32_t>{0, 1, 2}));
}

// Kernels walk whole panels: what stands past the last token must be harmless.
TEST(restOfTheLastPanelIsHarmless) {
  const Context context(levels().back());
  const auto batch = make_batch(context, 64);
  const Arrays arrays;
  EXPECT_OK(arrays.fill(batch.get()));
  for (int64_t t = 3; t < 64; ++t)
    EXPECT(batch->ids[t] == 0 && batch->labels[t] == -100 && batch->positions[t] == 0 &&
           batch->begins[t] == 0);
}

TEST(noTokensAreLegal) {
  const Context context(levels().back());
  const auto batch = make_batch(context, 4);
  EXPECT_OK(Arrays().fill(batch.get(), 0));
  EXPECT(batch->tokens == 0);
}

TEST(badBatchesAreRefusedAndTheOldOneStays) {
  const Context context(levels().back());
  rora_batch* made = nullptr;
  EXPECT_ERROR(rora_batch_create(context, 0, &made), RORA_INVALID_ARGUMENT, "max_tokens=0");
  EXPECT_ERROR(rora_batch_create(context, int64_t(1) << 31, &made), RORA_INVALID_ARGUMENT,
               "2^31 - 1");
  EXPECT_ERROR(rora_batch_create(nullptr, 1, &made), RORA_INVALID_ARGUMENT, "context");
  EXPECT_ERROR(rora_batch_create(context, 1, nullptr), RORA_INVALID_ARGUMENT, "NULL");
  const auto batch = make_batch(context, 3);
  const Arrays good;
  EXPECT_OK(good.fill(batch.get()));
  Arrays bad = good;
  bad.ids[1] = -1;
  EXPECT_ERROR(bad.fill(batch.get()), RORA_INVALID_ARGUMENT, "ids[1]=-1: must not be negative");
  bad = good;
  bad.labels[2] = -2;
  EXPECT_ERROR(bad.fill(batch.get()), RORA_INVALID_ARGUMENT, "labels[2]=-2");
  bad = good;
  bad.positions[0] = -1;
  EXPECT_ERROR(bad.fill(batch.get()), RORA_INVALID_ARGUMENT, "positions[0]=-1");
  bad = good;
  bad.begins[2] = -5;
  EXPECT_ERROR(bad.fill(batch.get()), RORA_INVALID_ARGUMENT, "begins[2]=-5");
  bad = good;
  bad.begins[1] = INT32_MAX;
  EXPECT_ERROR(bad.fill(batch.get()), RORA_INVALID_ARGUMENT, "overflow");
  EXPECT_ERROR(good.fill(batch.get(), 4), RORA_INVALID_ARGUMENT, "tokens=4: must be 0 .. 3");
  EXPECT_ERROR(good.fill(batch.get(), -1), RORA_INVALID_ARGUMENT, "tokens=-1");
  EXPECT_ERROR(good.fill(nullptr), RORA_INVALID_ARGUMENT, "batch is NULL");
  EXPECT_ERROR(rora_batch_fill(batch.get(), 3, nullptr, nullptr, good.positions.data(),
                               good.begins.data(), nullptr),
               RORA_INVALID_ARGUMENT, "ids");
  EXPECT(first_three(batch->ids) == good.ids && batch->tokens == 3);
  rora_batch_destroy(nullptr);
}
