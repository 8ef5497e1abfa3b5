#include "layers_testing.h"

using namespace rora;
using namespace rora::testing;

namespace {

constexpr double kDivisor = 37;

struct Problem {
  int64_t vocabulary, hidden;
  std::vector<float> head, x;
  Packed packed;

  Problem(Random& random, rora_dtype dtype, int64_t tokens, int64_t v, int64_t k)
      : vocabulary(v), hidden(k), packed({int(tokens)}) {
    head = rounded(random.normal(v * k, 0.5f), dtype);
    x = rounded(random.normal(tokens * k), dtype);
    for (int32_t& label : packed.labels) label = random.below(4) == 0 ? -100 : random.below(int(v));
    packed.labels.back() = int32_t(v - 1);
  }
  int64_t tokens() const { return packed.tokens(); }
};

// Cross entropy in double. _terms are sums of absolute values, weighted by the relative error of
// what they are made of.
struct Oracle {
  double loss = 0;
  std::vector<double> token_loss, dx, dx_terms, dw, dw_terms;
  double logit_terms = 0;  // the largest sum of absolute values of a logit's terms

  Oracle(const Problem& p, const std::vector<double>& x, const std::vector<double>& head) {
    token_loss.resize(size_t(p.tokens()));
    dx.resize(x.size()), dx_terms = dx, dw.resize(head.size()), dw_terms = dw;
    std::vector<double> logits(static_cast<size_t>(p.vocabulary));
    for (int64_t t = 0; t < p.tokens(); ++t) {
      const int32_t label = p.packed.labels[size_t(t)];
      if (label < 0) continue;
      double sum = 0;
      for (int64_t n = 0; n < p.vocabulary; ++n) {
        double terms = 0;
        logits[size_t(n)] = 0;
        for (int64_t k = 0; k < p.hidden; ++k) {
          const double term = x[size_t(t * p.hidden + k)] * head[size_t(n * p.hidden + k)];
          logits[size_t(n)] += term, terms += std::fabs(term);
        }
        logit_terms = std::max(logit_terms, terms);
        sum += std::exp(logits[size_t(n)]);
      }
      token_loss[size_t(t)] = std::log(sum) - logits[size_t(label)];
      loss += token_loss[size_t(t)];
      for (int64_t n = 0; n < p.vocabulary; ++n) {
        const double softmax = std::exp(logits[size_t(n)]) / sum;
        const double g = (softmax - (n == label ? 1 : 0)) / kDivisor;
        const double terms = (softmax + (n == label ? 1 : 0)) / kDivisor;
        for (int64_t k = 0; k < p.hidden; ++k) {
          const size_t i = size_t(t * p.hidden + k), w = size_t(n * p.hidden + k);
          dx[i] += g * head[w], dx_terms[i] += terms * std::fabs(head[w]);
          dw[w] += g * x[i], dw_terms[w] += terms * std::fabs(x[i]);
        }
      }
    }
  }
};

struct Results {
  double loss = -1;
  std::vector<float> token_loss, dx, dw;
};

Results run(const Case& c, const Problem& p, bool train_head) {
  Batch batch(c.context, p.packed);
  Matrix head(c.context, c.dtype, p.vocabulary, p.hidden, p.head);
  Tensor x(c.context, c.dtype, p.tokens(), p.hidden, p.x);
  Tensor dx(c.context, c.dtype, 0, p.hidden, {}, p.tokens());
  Floats master(c.context, p.vocabulary * p.hidden), gradient(c.context, p.vocabulary * p.hidden);
  x.spoil_unused_lanes(3.0f);
  if (train_head) EXPECT_OK(rora_weight_train(head, master.get(), gradient.get()));
  Results r;
  r.token_loss.assign(size_t(p.tokens()), -1.0f);
  EXPECT_OK(rora_cross_entropy(head, batch, x, kDivisor, &r.loss, r.token_loss.data(), dx));
  EXPECT(dx.padding_is_zero());
  r.dx = dx.values(), r.dw = gradient.values();
  return r;
}

}  // namespace

TEST(crossEntropyMatchesDouble) {
  on_every_level([](const Case& c) {
    Random random(1);
    for (const int64_t tokens : {int64_t(1), int64_t(63), int64_t(65), int64_t(400)})
      for (const auto& [vocabulary, hidden] :
           {std::pair<int64_t, int64_t>{2, 1}, {97, 33}, {1031, 16}}) {
        const Problem p(random, c.dtype, tokens, vocabulary, hidden);
        const Results found = run(c, p, true);
        const Oracle oracle(p, as_double(p.x), as_double(p.head));
        const double logit = double(hidden + 2) * kFloatHalf * oracle.logit_terms;
        const double loss = 2 * logit + 16 * kFloatHalf;
        EXPECT_CASE(c.name, found.token_loss, oracle.token_loss, [&](size_t i) {
          return oracle.token_loss[i] == 0 ? 0 : loss * (1 + oracle.logit_terms);
        });
        EXPECT(std::fabs(found.loss - oracle.loss) <=
               loss * (1 + oracle.logit_terms) * double(tokens));
        // In bf16 the gradient of the logits is rounded before its products: twice half a unit.
        const double rounding = c.dtype == RORA_BF16 ? 2 * kBf16Half : 0.0;
        const double error = 2 * loss + rounding;
        EXPECT_CASE(c.name, found.dx, oracle.dx, [&](size_t i) {
          return (error + double(vocabulary) * kFloatHalf) * oracle.dx_terms[i] +
                 storage_bound(c.dtype, oracle.dx[i]);
        });
        EXPECT_CASE(c.name, found.dw, oracle.dw, [&](size_t i) {
          return (error + double(tokens) * kFloatHalf) * oracle.dw_terms[i];
        });
      }
  });
}

TEST(crossEntropyGradientIsTheCentralDifference) {
  Random random(2);
  const Problem p(random, RORA_F32, 3, 7, 4);
  const std::vector<double> x = as_double(p.x), head = as_double(p.head);
  const Oracle oracle(p, x, head);
  for (size_t i = 0; i < x.size(); ++i) {
    const auto loss = [&](const std::vector<double>& v) {
      return Oracle(p, v, head).loss / kDivisor;
    };
    EXPECT(std::fabs(oracle.dx[i] - central_difference(loss, x, i)) < 1e-8);
  }
  for (size_t i = 0; i < head.size(); ++i) {
    const auto loss = [&](const std::vector<double>& v) { return Oracle(p, x, v).loss / kDivisor; };
    EXPECT(std::fabs(oracle.dw[i] - central_difference(loss, head, i)) < 1e-8);
  }
}

TEST(equalLogitsCostTheLogOfTheVocabulary) {
  on_every_level([](const Case& c) {
    Packed packed({2});
    packed.labels = {-100, 5};
    Batch batch(c.context, packed);
    Matrix head(c.context, c.dtype, 64, 3, std::vector<float>(64 * 3, 1.0f));
    Tensor x(c.context, c.dtype, 2, 3, {9, 9, 9, 1, 2, 3});
    Tensor dx(c.context, c.dtype, 2, 3, std::vector<float>(6, 1.0f));
    double loss = 0;
    std::vector<float> token_loss(2, -1.0f);
    EXPECT_OK(rora_cross_entropy(head, batch, x, 1.0, &loss, token_loss.data(), dx));
    EXPECT(std::fabs(loss - std::log(64.0)) < 1e-6);
    EXPECT(token_loss[0] == 0.0f && std::fabs(double(token_loss[1]) - loss) < 1e-6);
    // The softmax's rounding is all that is left, as the rows of the head are equal.
    EXPECT_CASE(c.name, dx.values(), std::vector<double>(6, 0.0),
                [](size_t i) { return i < 3 ? 0.0 : 8 * kFloatHalf; });
  });
}

TEST(evaluationGivesTheLossesOfTraining) {
  on_every_level([](const Case& c) {
    Random random(3);
    const Problem p(random, c.dtype, 130, 97, 33);
    const Results trained = run(c, p, false);
    Batch batch(c.context, p.packed);
    Matrix head(c.context, c.dtype, p.vocabulary, p.hidden, p.head);
    Tensor x(c.context, c.dtype, p.tokens(), p.hidden, p.x);
    double loss = -1;
    std::vector<float> token_loss(static_cast<size_t>(p.tokens()));
    EXPECT_OK(rora_cross_entropy(head, batch, x, 1.0, &loss, token_loss.data(), nullptr));
    EXPECT(loss == trained.loss);
    EXPECT_SAME_BITS(token_loss, trained.token_loss);
  });
}

TEST(nothingSupervisedCostsNothing) {
  on_every_level([](const Case& c) {
    Random random(4);
    Problem p(random, c.dtype, 65, 97, 33);
    for (int32_t& label : p.packed.labels) label = -100;
    const Results found = run(c, p, true);
    EXPECT(found.loss == 0);
    EXPECT_SAME_BITS(found.token_loss, std::vector<float>(65, 0.0f));
    EXPECT_SAME_BITS(found.dx, std::vector<float>(65 * 33, 0.0f));
    EXPECT_SAME_BITS(found.dw, std::vector<float>(97 * 33, 0.0f));
  });
}

TEST(lossDoesNotDependOnThreads) {
  Random random(5);
  const Problem p(random, RORA_F32, 200, 1031, 16);
  for (const std::string& level : levels()) {
    Results first;
    for (const int threads : {1, 2, 3}) {
      Context context(level, threads);
      const Results found = run({context, RORA_F32, level}, p, true);
      if (threads == 1) first = found;
      EXPECT(found.loss == first.loss);
      EXPECT_SAME_BITS(found.token_loss, first.token_loss);
      EXPECT_SAME_BITS(found.dx, first.dx);
      EXPECT_SAME_BITS(found.dw, first.dw);
    }
  }
}

TEST(lossIsNotFiniteWhereTheInputIsNot) {
  on_every_level([](const Case& c) {
    Packed packed({2});
    packed.labels = {1, 2};
    Batch batch(c.context, packed);
    Matrix head(c.context, c.dtype, 8, 2, std::vector<float>(16, 1.0f));
    Tensor x(c.context, c.dtype, 2, 2, {1, 1, NAN, 1});
    double loss = 0;
    std::vector<float> token_loss(2);
    EXPECT_OK(rora_cross_entropy(head, batch, x, 1.0, &loss, token_loss.data(), nullptr));
    EXPECT(!std::isfinite(loss));
    EXPECT(std::isfinite(token_loss[0]) && !std::isfinite(token_loss[1]));
  });
}

TEST(lossRefusesBadArgumentsAndWritesNothing) {
  Context context("portable");
  Packed packed({2});
  packed.labels = {3, 4};
  Batch batch(context, packed);
  Matrix head(context, RORA_F32, 4, 2, std::vector<float>(8, 1.0f));
  Tensor x(context, RORA_F32, 2, 2), narrow(context, RORA_F32, 2, 1);
  Tensor dx(context, RORA_F32, 2, 2, {1, 2, 3, 4});
  double loss = 7;
  EXPECT_ERROR(rora_cross_entropy(head, batch, x, 1.0, &loss, nullptr, dx), RORA_INVALID_ARGUMENT,
               "token 1 has label 4");
  EXPECT_ERROR(rora_cross_entropy(head, batch, x, 0.0, &loss, nullptr, dx), RORA_INVALID_ARGUMENT,
               "divisor=0");
  EXPECT_ERROR(rora_cross_entropy(head, batch, narrow, 1.0, &loss, nullptr, dx),
               RORA_INVALID_ARGUMENT, "x is 1 wide");
  EXPECT_ERROR(rora_cross_entropy(head, batch, x, 1.0, nullptr, nullptr, dx), RORA_INVALID_ARGUMENT,
               "loss_sum");
  EXPECT_ERROR(rora_cross_entropy(head, batch, x, 1.0, &loss, nullptr, x), RORA_INVALID_ARGUMENT,
               "same");
  EXPECT(loss == 7);
  EXPECT_SAME_BITS(dx.values(), (std::vector<float>{1, 2, 3, 4}));
}
