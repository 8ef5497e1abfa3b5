// The masks of cuda/philox.h against those of cpu/philox.h.
#include "cuda/philox.h"

#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

constexpr int64_t kFeatures = 4 * kWarp;

struct Factors {
  Dropout dropout;
  const int32_t* order;
  float* factors;  // [blocks, kFeatures]
};

// Features of a token for each block, four for each lane.
__global__ void factors_kernel(Factors op) {
  float factor[4];
  dropout_factors(op.dropout, op.order[blockIdx.x], int64_t(threadIdx.x) * 4, factor);
  for (int i = 0; i < 4; ++i)
    op.factors[blockIdx.x * kFeatures + threadIdx.x * 4 + uint32_t(i)] = factor[i];
}

}  // namespace

TEST(cudaPhiloxGivesThePublishedWords) {
  const uint64_t ones = 0xffffffffffffffffu;
  uint32_t word[4];
  cuda::philox(0, 0, 0, 0, 0, word);
  EXPECT(word[0] == 0x6627e8d5u && word[1] == 0xe169c58du);
  EXPECT(word[2] == 0xbc57ac4cu && word[3] == 0x9b00dbd8u);
  cuda::philox(ones, uint32_t(ones), uint32_t(ones), uint32_t(ones), uint32_t(ones), word);
  EXPECT(word[0] == 0x408f276du && word[1] == 0x41c83b0eu);
  EXPECT(word[2] == 0xa20bc7c6u && word[3] == 0x6d5451fdu);
}

TEST(cudaMasksAreThoseOfTheCpu) {
  const uint64_t seed = 1234567890123456789u, step = (uint64_t(1) << 32) + 99;
  const uint32_t projection = 7;
  const std::vector<int32_t> order = {0, 1, 63, 100000, 2147483647};
  for (const float p : {0.05f, 0.5f, 0.9f}) {
    simt::Stream stream;
    simt::Memory<int32_t> numbers(order.size());
    std::copy(order.begin(), order.end(), numbers.begin());
    simt::Memory<float> factors(order.size() * size_t(kFeatures));
    EXPECT_RUNS(
        launch(factors_kernel, {uint32_t(order.size())}, kWarp, 0, &stream,
               Factors{make_dropout(p, seed, step, projection), numbers.data(), factors.data()}));
    std::vector<float> expected;
    for (const int32_t number : order)
      for (int64_t f = 0; f < kFeatures; ++f) {
        const bool kept = dropout_word(seed, step, projection, number, f) >= dropout_threshold(p);
        expected.push_back(kept ? 1.0f / (1.0f - p) : 0.0f);
      }
    EXPECT_SAME_BITS(as_float(factors), expected);
  }
}
