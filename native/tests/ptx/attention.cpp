// Attention: m tokens in documents of random lengths, n heads of k features, two heads to a key's
// where n is even.
#include "cuda/attention.h"

#include "operands.h"

namespace rora::testing {
namespace {

using namespace cuda;

template <class T>
struct Sample {
  int64_t tokens, heads, kv_heads, dim;
  Matrix<T> q, k, v, y;
  Matrix<float> lse;
  simt::Memory<int32_t> begins, positions;
  double scale;

  // Documents of at most `longest` tokens.
  Sample(const CaseSizes& s, int64_t longest, Values& values)
      : tokens(s.m),
        heads(s.n),
        kv_heads(s.n % 2 == 0 ? s.n / 2 : s.n),
        dim((s.k + 1) / 2 * 2),
        q(s.m, heads * dim, "q"),
        k(s.m, kv_heads * dim, "k"),
        v(s.m, kv_heads * dim, "v"),
        y(s.m, heads * dim, "y"),
        lse(heads, s.m, "lse"),
        begins(size_t(s.m), "begins"),
        positions(size_t(s.m), "positions"),
        scale(1 / std::sqrt(double(dim))) {
    q.fill(values);
    k.fill(values);
    v.fill(values);
    for (int64_t t = 0; t < tokens;) {
      const int64_t begin = t, end = std::min(tokens, t + 1 + values.below(longest));
      for (; t < end; ++t)
        begins[size_t(t)] = int32_t(begin), positions[size_t(t)] = int32_t(t - begin);
    }
  }

  AttentionInputs<T> inputs() {
    return {tokens,   heads,    kv_heads,  dim,           q.data(),        q.pitch(),
            k.data(), v.data(), k.pitch(), begins.data(), positions.data()};
  }
  int64_t kv_head(int64_t head) const { return head / (heads / kv_heads); }

  // Of a token with the rows it attends to, and the largest error of one in float.
  std::vector<double> scores(int64_t t, int64_t head, double* error) const {
    std::vector<double> result;
    *error = 0;
    for (int64_t j = begins[size_t(t)]; j <= t; ++j) {
      double sum = 0, terms = 0;
      for (int64_t d = 0; d < dim; ++d) {
        const double product = q.get(t, head * dim + d) * k.get(j, kv_head(head) * dim + d);
        sum += product;
        terms += std::fabs(product);
      }
      result.push_back(sum * scale);
      *error = std::max(*error, (double(dim) + 8) * kFloatHalf * terms * scale);
    }
    return result;
  }
};

double log_sum_exp(const std::vector<double>& values) {
  const double largest = *std::max_element(values.begin(), values.end());
  double sum = 0;
  for (const double value : values) sum += std::exp(value - largest);
  return largest + std::log(sum);
}

// Rounding a probability, or its gradient, to the type that is multiplied.
template <class T>
constexpr double kProbability = std::is_same_v<T, float> ? 0 : kBf16Half;

// Exact: keys are the binary digits of their position, 64 or -64, and a query those of one
// position, so that every other probability is 0.
template <class T>
void pick_keys(Sample<T>& sample, Values& values) {
  const auto digit = [&](int64_t position, int64_t d) {
    return position >> (d % std::min<int64_t>(sample.dim, 8)) & 1 ? 64.0f : -64.0f;
  };
  for (int64_t t = 0; t < sample.tokens; ++t) {
    for (int64_t f = 0; f < sample.kv_heads * sample.dim; ++f)
      sample.k.set(t, f, digit(sample.positions[size_t(t)], f % sample.dim));
    for (int64_t head = 0; head < sample.heads; ++head) {
      const int64_t chosen = values.below(sample.positions[size_t(t)] + 1);
      for (int64_t d = 0; d < sample.dim; ++d)
        sample.q.set(t, head * sample.dim + d, digit(chosen, d));
    }
  }
}

template <class T>
void attention_forward_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  Sample<T> a(s, whole ? std::min<int64_t>(s.m, int64_t(1) << std::min<int64_t>(s.k, 8)) : s.m,
              values);
  if (whole) pick_keys(a, values);
  const AttentionForward<T> op = {a.inputs(), a.y.data(), a.y.pitch(), a.lse.data(), a.lse.pitch()};
  if (failed(attention_forward(stream, op), result)) return;
  Matrix<float> y(a.tokens, a.heads * a.dim, "expected"),
      bounds(a.tokens, a.heads * a.dim, "bounds");
  Matrix<float> lse(a.heads, a.tokens, "expected lse"), lse_bounds(a.heads, a.tokens, "bounds");
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t head = 0; head < a.heads; ++head) {
      double error;
      const std::vector<double> scores = a.scores(t, head, &error);
      const double all = log_sum_exp(scores), sums = double(scores.size()) + 32;
      lse.set(head, t, float(all));
      lse_bounds.set(head, t, float(error + (sums + 2 * std::fabs(all)) * kFloatHalf));
      for (int64_t d = 0; d < a.dim; ++d) {
        double sum = 0, terms = 0;
        for (size_t j = 0; j < scores.size(); ++j) {
          const double value = std::exp(scores[j] - all) * a.v.get(a.begins[size_t(t)] + int64_t(j),
                                                                   a.kv_head(head) * a.dim + d);
          sum += value;
          terms += std::fabs(value);
        }
        y.set(t, head * a.dim + d, float(sum));
        bounds.set(t, head * a.dim + d,
                   float(terms * (2 * error + kProbability<T> + 2 * sums * kFloatHalf)));
      }
    }
  a.y.check(
      0, a.heads * a.dim, result, [&](int64_t t, int64_t f) { return y.get(t, f); },
      [&](int64_t t, int64_t f) { return bounds.get(t, f); }, "y");
  a.y.check_padding(result, "y");
  if (whole) return;  // its log is not exact
  a.lse.check(
      0, a.tokens, result, [&](int64_t h, int64_t t) { return lse.get(h, t); },
      [&](int64_t h, int64_t t) { return lse_bounds.get(h, t); }, "lse");
}

// Exact: documents of one token, queries of 0, so that y = v, the scores' gradients are 0.
template <class T>
void attention_backward_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  Sample<T> a(s, whole ? 1 : s.m, values);
  if (whole) a.q.fill(0.0f);
  const int64_t width = a.heads * a.dim, kv_width = a.kv_heads * a.dim;
  Matrix<T> dy(a.tokens, width, "dy"), dq(a.tokens, width, "dq"), dk(a.tokens, kv_width, "dk"),
      dv(a.tokens, kv_width, "dv");
  dy.fill(values);
  // What the forward pass would have given.
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t head = 0; head < a.heads; ++head) {
      double error;
      const std::vector<double> scores = a.scores(t, head, &error);
      const double all = log_sum_exp(scores);
      a.lse.set(head, t, float(all));
      for (int64_t d = 0; d < a.dim; ++d) {
        double sum = 0;
        for (size_t j = 0; j < scores.size(); ++j)
          sum += std::exp(scores[j] - all) *
                 a.v.get(a.begins[size_t(t)] + int64_t(j), a.kv_head(head) * a.dim + d);
        a.y.set(t, head * a.dim + d, float(sum));
      }
    }
  simt::Memory<float> workspace(size_t(attention_workspace(a.tokens, a.heads)), "workspace");
  const AttentionBackward<T> op = {
      a.inputs(), a.y.data(), a.y.pitch(), a.lse.data(), a.lse.pitch(), dy.data(),       dy.pitch(),
      dq.data(),  dk.data(),  dv.data(),   dq.pitch(),   dk.pitch(),    workspace.data()};
  if (failed(attention_backward(stream, op), result)) return;

  // Sums in double, and what their terms may be off.
  struct Sum {
    double value = 0, error = 0;
    void add(double product, double relative, double error_of_factor, double other) {
      value += product;
      error += std::fabs(product) * relative + error_of_factor * std::fabs(other);
    }
  };
  std::vector<Sum> eq(size_t(a.tokens * width)), ek(size_t(a.tokens * kv_width)), ev = ek;
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t head = 0; head < a.heads; ++head) {
      double score_error;
      const std::vector<double> scores = a.scores(t, head, &score_error);
      const double all = a.lse.get(head, t);
      double delta = 0, delta_terms = 0;
      for (int64_t d = 0; d < a.dim; ++d) {
        const double product = dy.get(t, head * a.dim + d) * a.y.get(t, head * a.dim + d);
        delta += product;
        delta_terms += std::fabs(product);
      }
      for (size_t j = 0; j < scores.size(); ++j) {
        const int64_t row = a.begins[size_t(t)] + int64_t(j), kv = a.kv_head(head) * a.dim;
        double dp = 0, terms = delta_terms;
        for (int64_t d = 0; d < a.dim; ++d) {
          const double product = dy.get(t, head * a.dim + d) * a.v.get(row, kv + d);
          dp += product;
          terms += std::fabs(product);
        }
        const double p = std::exp(scores[j] - all), ds = p * (dp - delta) * a.scale;
        const double p_error =
            p * (2 * score_error + (16 + 4 * std::fabs(all)) * kFloatHalf + kProbability<T>);
        const double ds_error = p_error * std::fabs(dp - delta) * a.scale +
                                p * a.scale * (double(a.dim) + 8) * kFloatHalf * terms +
                                kProbability<T> * std::fabs(ds);
        const double sums = (double(a.tokens * a.heads / a.kv_heads) + 16) * kFloatHalf;
        for (int64_t d = 0; d < a.dim; ++d) {
          const double k = a.k.get(row, kv + d), q = a.q.get(t, head * a.dim + d),
                       g = dy.get(t, head * a.dim + d);
          eq[size_t(t * width + head * a.dim + d)].add(ds * k, sums, ds_error, k);
          ek[size_t(row * kv_width + kv + d)].add(ds * q, sums, ds_error, q);
          ev[size_t(row * kv_width + kv + d)].add(p * g, sums, p_error, g);
        }
      }
    }
  const auto compare = [&](const Matrix<T>& found, const std::vector<Sum>& expected,
                           int64_t columns, const char* what) {
    found.check(
        0, columns, result,
        [&](int64_t t, int64_t f) { return expected[size_t(t * columns + f)].value; },
        [&](int64_t t, int64_t f) { return expected[size_t(t * columns + f)].error; }, what);
    found.check_padding(result, what);
  };
  compare(dq, eq, width, "dq");
  compare(dk, ek, kv_width, "dk");
  compare(dv, ev, kv_width, "dv");
}

}  // namespace

std::vector<KernelCase> attention_cases() {
  return {
      {"attention_forward", "attention", attention_forward_case<float>,
       attention_forward_case<bf16>},
      {"attention_backward", "attention_backward", attention_backward_case<float>,
       attention_backward_case<bf16>},
  };
}

}  // namespace rora::testing
