#include "layers_testing.h"

using namespace rora;
using namespace rora::testing;

namespace {

struct Heads {
  int64_t heads, kv_heads, dim;

  int64_t q_width() const { return heads * dim; }
  int64_t kv_width() const { return kv_heads * dim; }
  int64_t width() const { return q_width() + 2 * kv_width(); }
  rora_attention_shape shape() const {
    return {heads, kv_heads, dim, q_width(), q_width() + kv_width()};
  }
};

const Heads kShapes[] = {{1, 1, 2}, {4, 2, 6}, {3, 3, 16}, {6, 1, 64}, {2, 1, 128}};

// Attention in double, with the sums of absolute values from which its rounding errors follow.
struct Oracle {
  Heads h;
  const Packed& packed;
  std::vector<double> y, y_terms, lse, lse_terms;  // [tokens, q_width] and [heads, tokens]
  std::vector<double> gradient, gradient_terms;    // [tokens, width]

  Oracle(const Heads& heads, const Packed& p, const std::vector<double>& qkv)
      : h(heads), packed(p) {
    y.resize(size_t(p.tokens() * h.q_width())), y_terms = y;
    lse.resize(size_t(h.heads * p.tokens())), lse_terms = lse;
    for_each_token(qkv, [&](int64_t t, int64_t head, const std::vector<double>& s, double terms) {
      const size_t i = size_t(head * packed.tokens() + t);
      double maximum = s[0], sum = 0;
      for (const double value : s) maximum = std::max(maximum, value);
      for (const double value : s) sum += std::exp(value - maximum);
      lse[i] = maximum + std::log(sum), lse_terms[i] = terms;
      for (size_t j = 0; j < s.size(); ++j)
        for (int64_t d = 0; d < h.dim; ++d) {
          const double term = std::exp(s[j] - lse[i]) * qkv[value_at(t, head, j, d)];
          y[query_at(t, head, d)] += term;
          y_terms[query_at(t, head, d)] += std::fabs(term);
        }
    });
  }

  void differentiate(const std::vector<double>& qkv, const std::vector<double>& dy) {
    gradient.assign(qkv.size(), 0.0), gradient_terms = gradient;
    const double scale = 1 / std::sqrt(double(h.dim));
    for_each_token(qkv, [&](int64_t t, int64_t head, const std::vector<double>& s, double) {
      double delta = 0, delta_terms = 0;
      for (int64_t d = 0; d < h.dim; ++d) {
        delta += dy[query_at(t, head, d)] * y[query_at(t, head, d)];
        delta_terms += std::fabs(dy[query_at(t, head, d)]) * y_terms[query_at(t, head, d)];
      }
      for (size_t j = 0; j < s.size(); ++j) {
        const double p = std::exp(s[j] - lse[size_t(head * packed.tokens() + t)]);
        double dp = 0, dp_terms = 0;
        for (int64_t d = 0; d < h.dim; ++d) {
          const double term = dy[query_at(t, head, d)] * qkv[value_at(t, head, j, d)];
          dp += term, dp_terms += std::fabs(term);
        }
        const double ds = p * (dp - delta) * scale, ds_terms = p * (dp_terms + delta_terms) * scale;
        for (int64_t d = 0; d < h.dim; ++d) {
          const size_t q = qkv_query_at(t, head, d), k = key_at(t, head, j, d);
          add(q, ds * qkv[k], ds_terms * std::fabs(qkv[k]));
          add(k, ds * qkv[q], ds_terms * std::fabs(qkv[q]));
          const double dy_value = dy[query_at(t, head, d)];
          add(value_at(t, head, j, d), p * dy_value, p * std::fabs(dy_value));
        }
      }
    });
  }

  // The relative error of an exponential of a score: its own rounding and that of the score.
  double exponent_error() const {
    double terms = 0;
    for (const double value : lse_terms) terms = std::max(terms, value);
    return (double(h.dim + 4) * terms + 8) * kFloatHalf;
  }

 private:
  size_t query_at(int64_t t, int64_t head, int64_t d) const {
    return size_t(t * h.q_width() + head * h.dim + d);
  }
  size_t qkv_query_at(int64_t t, int64_t head, int64_t d) const {
    return size_t(t * h.width() + head * h.dim + d);
  }
  size_t key_at(int64_t t, int64_t head, size_t j, int64_t d) const {
    const int64_t row = packed.begins[size_t(t)] + int64_t(j);
    return size_t(row * h.width() + h.q_width() + head / (h.heads / h.kv_heads) * h.dim + d);
  }
  size_t value_at(int64_t t, int64_t head, size_t j, int64_t d) const {
    return key_at(t, head, j, d) + size_t(h.kv_width());
  }
  void add(size_t i, double value, double terms) {
    gradient[i] += value, gradient_terms[i] += terms;
  }

  // body(token, head, scores, largest sum of absolute values of a score's terms)
  template <class Body>
  void for_each_token(const std::vector<double>& qkv, const Body& body) {
    for (int64_t head = 0; head < h.heads; ++head)
      for (int64_t t = 0; t < packed.tokens(); ++t) {
        std::vector<double> s(size_t(packed.positions[size_t(t)] + 1));
        double largest = 0;
        for (size_t j = 0; j < s.size(); ++j) {
          double terms = 0;
          for (int64_t d = 0; d < h.dim; ++d) {
            const double term = qkv[qkv_query_at(t, head, d)] * qkv[key_at(t, head, j, d)];
            s[j] += term, terms += std::fabs(term);
          }
          s[j] /= std::sqrt(double(h.dim));
          largest = std::max(largest, terms / std::sqrt(double(h.dim)));
        }
        body(t, head, s, largest);
      }
  }
};

// [heads, capacity] as the kernels keep it -> [heads, tokens]
std::vector<float> compact_lse(const Floats& lse, int64_t heads, int64_t tokens,
                               int64_t max_tokens) {
  const std::vector<float> all = lse.values();
  std::vector<float> result;
  for (int64_t head = 0; head < heads; ++head)
    for (int64_t t = 0; t < tokens; ++t)
      result.push_back(all[size_t(head * round_up(max_tokens, kPanel) + t)]);
  return result;
}

// Where pairs of bf16 are multiplied, probabilities and their gradients are rounded to bf16 before
// they meet values, keys and queries: 2^-8 of every term at most. (FlashAttention does the same.)
double score_rounding(const Case& c) {
  const std::string level = rora_context_isa(c.context);
  const bool rounds = level == "avx512bf16" || level == "amx" || level == "simt" || level == "cuda";
  return c.dtype == RORA_BF16 && rounds ? 2 * kBf16Half : 0.0;
}

struct Results {
  std::vector<float> y, lse, gradient;
};

// Forward and backward on one context.
Results run(const Case& c, const Heads& h, const Packed& packed, const std::vector<float>& qkv,
            const std::vector<float>& dy) {
  const int64_t tokens = packed.tokens(), room = tokens + 70;
  const rora_attention_shape shape = h.shape();
  Batch batch(c.context, packed);
  Tensor input(c.context, c.dtype, tokens, h.width(), qkv, room);
  Tensor d(c.context, c.dtype, tokens, h.q_width(), dy);
  Tensor y(c.context, c.dtype, 0, h.q_width(), {}, room);
  Tensor gradient(c.context, c.dtype, 0, h.width(), {}, room);
  Floats lse(c.context, h.heads * round_up(room, kPanel));
  input.spoil_unused_lanes(std::nanf(""));
  EXPECT_OK(rora_attention_forward(&shape, batch, input, lse.get(), y));
  EXPECT_OK(rora_attention_backward(&shape, batch, input, y, lse.get(), d, gradient));
  EXPECT(y.padding_is_zero());
  EXPECT(gradient.padding_is_zero());
  return {y.values(), compact_lse(lse, h.heads, tokens, room), gradient.values()};
}

}  // namespace

TEST(attentionMatchesDoubleForwardAndBackward) {
  on_every_level([](const Case& c) {
    Random random(1);
    for (const Heads& h : kShapes)
      for (const int64_t tokens : token_counts()) {
        const Packed packed(document_lengths(tokens));
        const std::vector<float> qkv = rounded(random.normal(tokens * h.width()), c.dtype);
        const std::vector<float> dy = rounded(random.normal(tokens * h.q_width()), c.dtype);
        const Results found = run(c, h, packed, qkv, dy);
        Oracle oracle(h, packed, as_double(qkv));
        oracle.differentiate(as_double(qkv), as_double(dy));
        // An exponential stands in numerator and denominator; then come sums over keys and
        // features.
        const double error = 2 * oracle.exponent_error() + double(tokens + h.dim + 8) * kFloatHalf;
        EXPECT_CASE(c.name, found.lse, oracle.lse, [&](size_t) { return error; });
        EXPECT_CASE(c.name, found.y, oracle.y, [&](size_t i) {
          return (error + score_rounding(c)) * oracle.y_terms[i] +
                 storage_bound(c.dtype, oracle.y[i]);
        });
        // In bf16 the backward pass reads y rounded, half a unit of every term of dy . y.
        const double stored = c.dtype == RORA_BF16 ? kBf16Half : 0.0;
        EXPECT_CASE(c.name, found.gradient, oracle.gradient, [&](size_t i) {
          return (2 * error + stored + score_rounding(c)) * oracle.gradient_terms[i] +
                 storage_bound(c.dtype, oracle.gradient[i]);
        });
      }
  });
}

TEST(attentionGradientIsTheCentralDifference) {
  const Heads h = {2, 1, 4};
  const Packed packed({3, 1, 2});
  Random random(2);
  const std::vector<double> qkv = as_double(random.normal(packed.tokens() * h.width()));
  const std::vector<double> dy = as_double(random.normal(packed.tokens() * h.q_width()));
  Oracle oracle(h, packed, qkv);
  oracle.differentiate(qkv, dy);
  const auto objective = [&](const std::vector<double>& values) {
    const Oracle moved(h, packed, values);
    double sum = 0;
    for (size_t i = 0; i < dy.size(); ++i) sum += moved.y[i] * dy[i];
    return sum;
  };
  for (size_t i = 0; i < qkv.size(); ++i)
    EXPECT(std::fabs(oracle.gradient[i] - central_difference(objective, qkv, i)) < 1e-7);
}

TEST(attentionOfOneTokenReturnsItsValue) {
  on_every_level([](const Case& c) {
    const Heads h = {2, 2, 4};
    const Packed packed(std::vector<int>(65, 1));
    Random random(3);
    const std::vector<float> qkv = rounded(random.normal(65 * h.width()), c.dtype);
    const Results found =
        run(c, h, packed, qkv, std::vector<float>(size_t(65 * h.q_width()), 1.0f));
    std::vector<float> values;
    for (int64_t t = 0; t < 65; ++t)
      for (int64_t i = 0; i < h.q_width(); ++i)
        values.push_back(qkv[size_t(t * h.width() + h.q_width() + h.kv_width() + i)]);
    EXPECT_SAME_BITS(found.y, values);
  });
}

TEST(packedDocumentsAreSeparateDocuments) {
  on_every_level([](const Case& c) {
    const Heads h = {4, 2, 16};
    const std::vector<int> lengths = {64, 128,
                                      30};  // starting at panels, so that sums have one order
    const Packed packed(lengths);
    Random random(4);
    const std::vector<float> qkv = rounded(random.normal(packed.tokens() * h.width()), c.dtype);
    const std::vector<float> dy = rounded(random.normal(packed.tokens() * h.q_width()), c.dtype);
    const Results together = run(c, h, packed, qkv, dy);
    Results apart;
    int64_t t = 0;
    for (const int length : lengths) {
      const auto rows = [&](const std::vector<float>& all, int64_t width) {
        return std::vector<float>(all.begin() + t * width, all.begin() + (t + length) * width);
      };
      const Results one = run(c, h, Packed({length}), rows(qkv, h.width()), rows(dy, h.q_width()));
      apart.y.insert(apart.y.end(), one.y.begin(), one.y.end());
      apart.gradient.insert(apart.gradient.end(), one.gradient.begin(), one.gradient.end());
      t += length;
    }
    EXPECT_SAME_BITS(together.y, apart.y);
    EXPECT_SAME_BITS(together.gradient, apart.gradient);
  });
}

TEST(attentionDoesNotDependOnThreads) {
  const Heads h = {4, 2, 16};
  const Packed packed({200, 50});
  Random random(5);
  const std::vector<float> qkv = random.normal(packed.tokens() * h.width());
  const std::vector<float> dy = random.normal(packed.tokens() * h.q_width());
  for (const std::string& level : levels()) {
    Results first;
    for (const int threads : {1, 2, 3}) {
      Context context(level, threads);
      const Results found = run({context, RORA_F32, level}, h, packed, qkv, dy);
      if (threads == 1) first = found;
      EXPECT_SAME_BITS(found.y, first.y);
      EXPECT_SAME_BITS(found.lse, first.lse);
      EXPECT_SAME_BITS(found.gradient, first.gradient);
    }
  }
}

namespace {

// Feeds two documents to a cache, `step` tokens of each at a time, and collects what comes out.
std::vector<float> through_cache(const Case& c, const Heads& h, const std::vector<float>& qkv,
                                 const std::vector<int>& lengths, int step) {
  const rora_attention_shape shape = h.shape();
  const int64_t room = lengths[0] + lengths[1] + 20;
  // Behind the last row that is attended to the cache may hold anything.
  std::vector<float> old(size_t(room * 2 * h.kv_width()));
  std::fill(old.begin() + (lengths[0] + 10) * 2 * h.kv_width(), old.end(), std::nanf(""));
  Tensor cache(c.context, c.dtype, room, 2 * h.kv_width(), old);
  std::vector<float> result(size_t((lengths[0] + lengths[1]) * h.q_width()));
  for (int at = 0; at < std::max(lengths[0], lengths[1]); at += step) {
    Packed packed(std::vector<int>{});
    std::vector<int64_t> rows;
    for (int document = 0; document < 2; ++document)
      for (int i = at; i < std::min(at + step, lengths[size_t(document)]); ++i) {
        packed.positions.push_back(i);
        packed.begins.push_back(document == 0 ? 3 : lengths[0] + 10);
        rows.push_back(document == 0 ? i : lengths[0] + i);
      }
    packed.ids.resize(rows.size()), packed.labels.resize(rows.size(), -100);
    std::vector<float> part;
    for (const int64_t row : rows)
      part.insert(part.end(), qkv.begin() + row * h.width(), qkv.begin() + (row + 1) * h.width());
    Batch batch(c.context, packed);
    Tensor input(c.context, c.dtype, packed.tokens(), h.width(), part);
    Tensor y(c.context, c.dtype, packed.tokens(), h.q_width());
    EXPECT_OK(rora_attention_cached(&shape, batch, input, cache, y));
    const std::vector<float> values = y.values();
    for (size_t i = 0; i < values.size(); ++i) {
      const size_t width = size_t(h.q_width());
      result[size_t(rows[i / width]) * width + i % width] = values[i];
    }
  }
  return result;
}

}  // namespace

TEST(attentionThroughACacheIsAttention) {
  on_every_level([](const Case& c) {
    Random random(6);
    const std::vector<int> lengths = {150, 70};
    const Packed packed(lengths);
    for (const Heads& h : {Heads{1, 1, 2}, Heads{6, 2, 6}, Heads{5, 1, 16}, Heads{4, 2, 64}}) {
      const std::vector<float> qkv = rounded(random.normal(packed.tokens() * h.width()), c.dtype);
      const Oracle oracle(h, packed, as_double(qkv));
      const double error = 2 * oracle.exponent_error() + double(150 + h.dim + 8) * kFloatHalf;
      for (const int step : {1, 3, 64, 150})
        EXPECT_CASE(c.name, through_cache(c, h, qkv, lengths, step), oracle.y, [&](size_t i) {
          return (error + score_rounding(c)) * oracle.y_terms[i] +
                 storage_bound(c.dtype, oracle.y[i]);
        });
    }
  });
}

TEST(attentionRefusesBadArgumentsAndWritesNothing) {
  Context context("portable");
  const Packed packed({3});
  Packed outside({3});
  outside.positions[2] = 3;
  Batch batch(context, packed), beyond(context, outside);
  Tensor qkv(context, RORA_F32, 3, 16), y(context, RORA_F32, 1, 8, std::vector<float>(8, 1.0f), 3);
  Tensor cache(context, RORA_F32, 2, 8);
  const rora_attention_shape good = {2, 1, 4, 8, 12}, heads = {3, 2, 4, 8, 12},
                             odd = {2, 1, 3, 8, 12};
  const rora_attention_shape overlap = {2, 1, 4, 6, 12}, wide = {2, 1, 4, 8, 14};
  const auto forward = [&](const rora_attention_shape& s, rora_batch* b, rora_activation* target) {
    return rora_attention_forward(&s, b, qkv, nullptr, target);
  };
  EXPECT_ERROR(forward(heads, batch, y), RORA_INVALID_ARGUMENT, "kv_heads=2");
  EXPECT_ERROR(forward(odd, batch, y), RORA_INVALID_ARGUMENT, "head_dim=3");
  EXPECT_ERROR(forward(overlap, batch, y), RORA_INVALID_ARGUMENT, "overlap");
  EXPECT_ERROR(forward(wide, batch, y), RORA_INVALID_ARGUMENT, "values");
  EXPECT_ERROR(forward(good, beyond, y), RORA_INVALID_ARGUMENT, "token 2 attends to rows 0 .. 3");
  EXPECT_ERROR(forward(good, batch, qkv), RORA_INVALID_ARGUMENT, "width");
  EXPECT_ERROR(rora_attention_cached(&good, batch, qkv, cache, y), RORA_INVALID_ARGUMENT, "cache");
  EXPECT_ERROR(rora_attention_backward(&good, batch, qkv, y, nullptr, y, qkv),
               RORA_INVALID_ARGUMENT, "lse");
  EXPECT_SAME_BITS(y.values(), std::vector<float>(8, 1.0f));
}
