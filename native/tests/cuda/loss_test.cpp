#include "cuda/loss.h"

#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

constexpr double kDivisor = 37;

struct Sample {
  int64_t rows, vocabulary;
  std::vector<float> logits;
  std::vector<int32_t> labels;
};

// Every third row has no label.
template <class T>
Sample make_sample(T, int64_t rows, int64_t vocabulary, float deviation = 4.0f) {
  Random random(uint64_t(rows * 10000 + vocabulary));
  Sample s = {rows, vocabulary, as<T>(random.normal(rows * vocabulary, deviation)), {}};
  for (int64_t t = 0; t < rows; ++t)
    s.labels.push_back(t % 3 == 1 ? -100 : random.below(int(vocabulary)));
  return s;
}

struct Found {
  std::vector<float> logits, token_loss;
  double loss_sum;
};

template <class T>
Found run(T, const Sample& s, bool gradient = true, uint64_t seed = 1, double before = 0,
          int64_t pitch = 0) {
  simt::Stream stream(seed);
  Rows<T> logits(s.rows, s.vocabulary, s.logits, pitch);
  simt::Memory<int32_t> labels(s.labels.size());
  std::copy(s.labels.begin(), s.labels.end(), labels.begin());
  simt::Memory<double> row_losses(s.labels.size()), loss_sum(1);
  simt::Memory<float> token_loss(s.labels.size());
  loss_sum[0] = before;
  EXPECT_RUNS(cross_entropy(
      &stream,
      CrossEntropy<T>{s.rows, s.vocabulary, logits.data(), logits.pitch(), labels.data(), kDivisor,
                      gradient, row_losses.data(), token_loss.data(), loss_sum.data()}));
  EXPECT(logits.padding_survives());
  return {logits.values(), as_float(token_loss), loss_sum[0]};
}

struct Expected {
  std::vector<double> gradient, softmax, losses, lse;
  double sum = 0;
};

Expected expected(const Sample& s) {
  Expected e;
  for (int64_t t = 0; t < s.rows; ++t) {
    const float* x = &s.logits[size_t(t * s.vocabulary)];
    const int32_t label = s.labels[size_t(t)];
    double maximum = -INFINITY, exponentials = 0;
    for (int64_t n = 0; n < s.vocabulary; ++n) maximum = std::fmax(maximum, double(x[n]));
    for (int64_t n = 0; n < s.vocabulary; ++n) exponentials += std::exp(double(x[n]) - maximum);
    const double lse = maximum + std::log(exponentials);
    for (int64_t n = 0; n < s.vocabulary; ++n) {
      const double softmax = label < 0 ? 0 : std::exp(double(x[n]) - lse);
      e.softmax.push_back(softmax / kDivisor);
      e.gradient.push_back((softmax - (n == label ? 1 : 0)) / kDivisor);
    }
    e.lse.push_back(lse);
    e.losses.push_back(label < 0 ? 0 : lse - double(x[label]));
    e.sum += e.losses.back();
  }
  return e;
}

// The error of e^x: two units in the last place and, for bf16, of x / ln 2.
template <class T>
double exp_error(double x) {
  return (std::is_same_v<T, float> ? 4 : 2 * (3 + std::fabs(x))) * kFloatHalf;
}

const int64_t kRows[] = {1, 7};
// Fewer than a pack, a warp's, a block's packs and more; none divides anything.
const int64_t kVocabularies[] = {1, 5, 63, 257, 4099, 8200};

template <class Body>
void for_samples(const Body& body) {
  on_both_types([&](auto type) {
    for (const int64_t rows : kRows)
      for (const int64_t vocabulary : kVocabularies)
        body(type, make_sample(type, rows, vocabulary));
  });
}

}  // namespace

TEST(crossEntropyOfEqualLogitsIsExact) {
  on_both_types([](auto type) {
    Sample s = {2, 8, std::vector<float>(16, 3.0f), {5, -100}};
    const Found found = run(type, s);
    // 1 / 8 and -7 / 8 of 1 / 37, each rounded once or twice.
    Expected e = expected(s);
    EXPECT_WITHIN(found.logits, e.gradient, [&](size_t i) {
      return 4 * kFloatHalf / kDivisor + rounding<decltype(type)>(e.gradient[i]) * 1.01;
    });
    EXPECT(found.token_loss[0] == float(std::log(8.0)) && found.token_loss[1] == 0.0f);
    EXPECT(std::fabs(found.loss_sum - std::log(8.0)) < 1e-15);
  });
}

TEST(crossEntropyAndItsGradientMatchTheFormulas) {
  for_samples([](auto type, const Sample& s) {
    using T = decltype(type);
    const Found found = run(type, s);
    const Expected e = expected(s);
    // A thread's sum of exponentials has up to vocabulary / 32 terms (and packs to rescale), each
    // with the error of e^x; logits reach +-16 here. All of it is relative to the sum.
    const double sum_error = 2 * exp_error<T>(32) + (double(s.vocabulary) / 32 + 16) * kFloatHalf;
    EXPECT_WITHIN(found.token_loss, e.losses, [&](size_t t) {
      return e.losses[t] == 0 && s.labels[t] < 0 ? 0 : sum_error + kFloatHalf * e.losses[t];
    });
    EXPECT(std::fabs(found.loss_sum - e.sum) <= double(s.rows) * sum_error);
    EXPECT_WITHIN(found.logits, e.gradient, [&](size_t i) {
      const double own = exp_error<T>(32) + sum_error + 4 * kFloatHalf;
      return own * e.softmax[i] + 2 * kFloatHalf * std::fabs(e.gradient[i]) +
             rounding<T>(e.gradient[i]) * 1.01 + 1e-40;
    });
    const Found again = run(type, s, true, 2);
    EXPECT_SAME_BITS(again.logits, found.logits);
    EXPECT(again.loss_sum == found.loss_sum);
  });
}

TEST(crossEntropyWithoutGradientLeavesTheLogits) {
  for_samples([](auto type, const Sample& s) {
    const Found found = run(type, s, false), trained = run(type, s);
    EXPECT_SAME_BITS(found.logits, s.logits);
    EXPECT_SAME_BITS(found.token_loss, trained.token_loss);
    EXPECT(found.loss_sum == trained.loss_sum);
  });
}

TEST(crossEntropyAddsToTheSumOfEarlierChunks) {
  on_both_types([](auto type) {
    const Sample s = make_sample(type, 7, 63);
    EXPECT(run(type, s, true, 1, 1000.0).loss_sum == 1000.0 + run(type, s).loss_sum);
  });
}

// Rows that are not aligned go element by element.
TEST(crossEntropyTakesAnyPitch) {
  on_both_types([](auto type) {
    using T = decltype(type);
    const Sample s = make_sample(type, 4, 259);
    const Found packs = run(type, s), single = run(type, s, true, 1, 0, 261);
    EXPECT_WITHIN(single.logits, as_double(packs.logits), [&](size_t i) {
      return 2 * rounding<T>(double(packs.logits[i])) + 1e-6 / kDivisor;
    });
  });
}

TEST(crossEntropyOfFarApartLogitsIsExact) {
  on_both_types([](auto type) {
    Sample s = make_sample(type, 1, 300);
    s.logits.assign(300, -INFINITY);
    s.logits[17] = 1e4f, s.logits[299] = -1e4f;
    s.labels = {17};
    const Found found = run(type, s);
    EXPECT(found.loss_sum == 0.0);
    EXPECT_SAME_BITS(found.logits, std::vector<float>(300, 0.0f));
  });
}

TEST(crossEntropyOfNaNIsNaN) {
  on_both_types([](auto type) {
    Sample s = make_sample(type, 1, 300);
    s.labels = {3};
    for (const float bad : {NAN, INFINITY}) {
      s.logits[200] = bad;
      const Found found = run(type, s);
      EXPECT(std::isnan(found.loss_sum));
      EXPECT(std::isnan(found.logits[0]) && std::isnan(found.logits[200]));
    }
  });
}

TEST(crossEntropyOfNoRowsDoesNothing) {
  simt::Stream stream;
  EXPECT_RUNS(cross_entropy(&stream, CrossEntropy<float>{}));
}
