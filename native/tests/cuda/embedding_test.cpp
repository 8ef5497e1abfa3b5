#include "cuda/embedding.h"

#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

const int64_t kWidths[] = {1, 7, 64, 1030};
constexpr int kVocabulary = 40;

std::vector<int32_t> random_ids(int64_t tokens, int limit, uint64_t seed) {
  Random random(seed);
  std::vector<int32_t> ids;
  for (int64_t t = 0; t < tokens; ++t) ids.push_back(random.below(limit));
  return ids;
}

void copy_ids(const std::vector<int32_t>& ids, simt::Memory<int32_t>& memory) {
  std::copy(ids.begin(), ids.end(), memory.begin());
}

// With the width as the table's pitch, rows need not be aligned to 16 bytes.
template <class T>
std::vector<float> backward(T, const std::vector<int32_t>& ids, int64_t width,
                            const std::vector<float>& dy, const std::vector<float>& before,
                            uint64_t seed, int64_t pitch) {
  simt::Stream stream(seed);
  simt::Memory<int32_t> numbers(ids.size());
  copy_ids(ids, numbers);
  Rows<T> d(int64_t(ids.size()), width, dy);
  Rows<float> gradient(kVocabulary, width, before, pitch);
  EXPECT_RUNS(embedding_backward(
      &stream, EmbeddingBackward<T>{int64_t(ids.size()), width, numbers.data(), d.data(), d.pitch(),
                                    gradient.data(), gradient.pitch()}));
  EXPECT(gradient.padding_survives());
  return gradient.values();
}

}  // namespace

TEST(embeddingCopiesRowsOfTheTable) {
  on_both_types([](auto table_type) {
    on_both_types([&](auto type) {
      using Table = decltype(table_type);
      using T = decltype(type);
      for (const int64_t width : kWidths)
        for (const int64_t pitch : {int64_t(0), width}) {
          simt::Stream stream;
          const std::vector<float> values = as<Table>(Random(1).normal(kVocabulary * width));
          const std::vector<int32_t> ids = random_ids(70, kVocabulary, 2);
          simt::Memory<int32_t> numbers(ids.size());
          copy_ids(ids, numbers);
          Rows<Table> table(kVocabulary, width, values, pitch);
          Rows<T> y(70, width);
          EXPECT_RUNS(embedding_forward(
              &stream, EmbeddingForward<Table, T>{70, width, numbers.data(), table.data(),
                                                  table.pitch(), y.data(), y.pitch()}));
          EXPECT(y.padding_survives());
          std::vector<float> expected;
          for (const int32_t id : ids)
            expected.insert(expected.end(), values.begin() + id * width,
                            values.begin() + (id + 1) * width);
          EXPECT_SAME_BITS(y.values(), as<T>(expected));
        }
    });
  });
}

// The order of the tokens decides how the sums round: the bits are the reference's.
TEST(embeddingGradientsAddInTheOrderOfTheTokens) {
  on_both_types([](auto type) {
    for (const int64_t width : kWidths)
      for (const int64_t tokens : {1, 33, 300}) {
        if (width > 1000 && tokens > 100) continue;
        const std::vector<float> dy = as<decltype(type)>(Random(3).normal(tokens * width));
        const std::vector<float> before = Random(4).normal(kVocabulary * width);
        for (const int limit : {1, 5, kVocabulary}) {  // few ids, so that many tokens share one
          const std::vector<int32_t> ids = random_ids(tokens, limit, 5);
          std::vector<float> expected = before;
          for (int64_t t = 0; t < tokens; ++t)
            for (int64_t f = 0; f < width; ++f)
              expected[size_t(ids[size_t(t)] * width + f)] += dy[size_t(t * width + f)];
          for (const int64_t pitch : {int64_t(0), width})
            EXPECT_SAME_BITS(backward(type, ids, width, dy, before, uint64_t(limit), pitch),
                             expected);
        }
      }
  });
}

TEST(embeddingOfNoTokensDoesNothing) {
  simt::Stream stream;
  EXPECT_RUNS(embedding_forward(&stream, EmbeddingForward<bf16, float>{}));
  EXPECT_RUNS(embedding_backward(&stream, EmbeddingBackward<float>{}));
}
