#include "cuda/attention.h"

#include <algorithm>

#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

struct Heads {
  int64_t heads, kv_heads, dim;
  // Unused columns before the keys and before the values; 8 keeps packs of 16 bytes aligned.
  int64_t gap = 8;

  int64_t q_width() const { return heads * dim; }
  int64_t kv_width() const { return kv_heads * dim; }
  int64_t key_column() const { return q_width() + gap; }
  int64_t value_column() const { return key_column() + kv_width() + gap; }
  int64_t width() const { return value_column() + kv_width(); }
  int64_t kv_head(int64_t head) const { return head / (heads / kv_heads); }
};

// Every padded head_dim, those that are padded, packs that do not fit, and groups of 1, 2, 3 and 4.
const Heads kShapes[] = {{1, 1, 2},   {4, 2, 6},      {3, 1, 8},     {8, 2, 16}, {3, 3, 32},
                         {3, 1, 40},  {4, 1, 64},     {2, 2, 64, 2}, {1, 1, 96}, {3, 1, 128},
                         {1, 1, 136}, {1, 1, 254, 4}, {2, 1, 256}};

// Which rows tokens attend to.
struct Documents {
  std::vector<int32_t> begins, positions;

  explicit Documents(const std::vector<int>& lengths = {}) {
    for (const int length : lengths) append(length);
  }
  void append(int length) {
    const int32_t begin = int32_t(begins.size());
    for (int32_t i = 0; i < length; ++i) begins.push_back(begin), positions.push_back(i);
  }
  int64_t tokens() const { return int64_t(begins.size()); }
};

// Documents of many lengths that are `tokens` long together.
std::vector<int> document_lengths(int64_t tokens) {
  const int pattern[] = {5, 40, 1, 30, 70, 2, 90};
  std::vector<int> lengths;
  for (int i = 0; tokens > 0; ++i) {
    lengths.push_back(int(std::min<int64_t>(tokens, pattern[i % 7])));
    tokens -= lengths.back();
  }
  return lengths;
}

// Values of queries, keys and values, row-major without gaps.
struct Values {
  std::vector<float> q, k, v, dy;

  template <class T>
  static Values random(T, const Heads& h, int64_t tokens, uint64_t seed) {
    Random random(seed);
    return {as<T>(random.normal(tokens * h.q_width())), as<T>(random.normal(tokens * h.kv_width())),
            as<T>(random.normal(tokens * h.kv_width())),
            as<T>(random.normal(tokens * h.q_width()))};
  }
};

// Attention in double, with the sums of absolute values from which its rounding errors follow.
struct Oracle {
  const Heads h;
  const Documents& documents;
  const std::vector<double> q, k, v;
  std::vector<double> y, y_terms, lse;  // [tokens, q_width] and [heads, tokens]
  std::vector<double> dq, dk, dv, dq_terms, dk_terms, dv_terms;
  double largest_score = 0;  // sum of absolute values of a score's terms

  Oracle(const Heads& heads, const Documents& d, const std::vector<double>& queries,
         const std::vector<double>& keys, const std::vector<double>& values)
      : h(heads), documents(d), q(queries), k(keys), v(values) {
    y.resize(q.size()), y_terms = y;
    lse.resize(size_t(h.heads * documents.tokens()));
    for_each_token([&](int64_t t, int64_t head, const std::vector<double>& s) {
      double& all = lse[size_t(head * documents.tokens() + t)];
      double maximum = s[0], sum = 0;
      for (const double value : s) maximum = std::max(maximum, value);
      for (const double value : s) sum += std::exp(value - maximum);
      all = maximum + std::log(sum);
      for (size_t j = 0; j < s.size(); ++j)
        for (int64_t d = 0; d < h.dim; ++d) {
          const double term = std::exp(s[j] - all) * v[key_at(t, head, j) + size_t(d)];
          y[query_at(t, head) + size_t(d)] += term;
          y_terms[query_at(t, head) + size_t(d)] += std::fabs(term);
        }
    });
  }

  void differentiate(const std::vector<double>& dy) {
    dq.assign(q.size(), 0), dk.assign(k.size(), 0), dv = dk;
    dq_terms = dq, dk_terms = dk, dv_terms = dk;
    const double scale = 1 / std::sqrt(double(h.dim));
    for_each_token([&](int64_t t, int64_t head, const std::vector<double>& s) {
      const size_t row = query_at(t, head);
      double delta = 0, delta_terms = 0;
      for (size_t d = 0; d < size_t(h.dim); ++d) {
        delta += dy[row + d] * y[row + d];
        delta_terms += std::fabs(dy[row + d]) * y_terms[row + d];
      }
      for (size_t j = 0; j < s.size(); ++j) {
        const size_t key = key_at(t, head, j);
        const double p = std::exp(s[j] - lse[size_t(head * documents.tokens() + t)]);
        double dp = 0, dp_terms = 0;
        for (size_t d = 0; d < size_t(h.dim); ++d) {
          dp += dy[row + d] * v[key + d];
          dp_terms += std::fabs(dy[row + d] * v[key + d]);
        }
        const double ds = p * (dp - delta) * scale, ds_terms = p * (dp_terms + delta_terms) * scale;
        for (size_t d = 0; d < size_t(h.dim); ++d) {
          dq[row + d] += ds * k[key + d], dq_terms[row + d] += ds_terms * std::fabs(k[key + d]);
          dk[key + d] += ds * q[row + d], dk_terms[key + d] += ds_terms * std::fabs(q[row + d]);
          dv[key + d] += p * dy[row + d], dv_terms[key + d] += p * std::fabs(dy[row + d]);
        }
      }
    });
  }

  // The relative error of a probability, a sum over rows and one over features: the score's and
  // the exponential's, which stand in numerator and denominator; and that of the factors between
  // tiles, two units of an exponential for each 16 rows at most.
  double error() const {
    const double exponent = double(h.dim + 4) * largest_score + 8;
    return (2 * exponent + double(2 * documents.tokens() + h.dim + 16)) * kFloatHalf;
  }

 private:
  size_t query_at(int64_t t, int64_t head) const { return size_t(t * h.q_width() + head * h.dim); }
  size_t key_at(int64_t t, int64_t head, size_t j) const {
    const int64_t row = documents.begins[size_t(t)] + int64_t(j);
    return size_t(row * h.kv_width() + h.kv_head(head) * h.dim);
  }

  // body(token, head, scores)
  template <class Body>
  void for_each_token(const Body& body) {
    for (int64_t head = 0; head < h.heads; ++head)
      for (int64_t t = 0; t < documents.tokens(); ++t) {
        std::vector<double> s(size_t(documents.positions[size_t(t)] + 1));
        for (size_t j = 0; j < s.size(); ++j) {
          double terms = 0;
          for (size_t d = 0; d < size_t(h.dim); ++d) {
            const double term = q[query_at(t, head) + d] * k[key_at(t, head, j) + d];
            s[j] += term, terms += std::fabs(term);
          }
          s[j] /= std::sqrt(double(h.dim));
          largest_score = std::max(largest_score, terms / std::sqrt(double(h.dim)));
        }
        body(t, head, s);
      }
  }
};

struct Results {
  std::vector<float> y, lse, dq, dk, dv;
};

void expect_same(const Results& a, const Results& b) {
  EXPECT_SAME_BITS(a.y, b.y);
  EXPECT_SAME_BITS(a.lse, b.lse);
  EXPECT_SAME_BITS(a.dq, b.dq);
  EXPECT_SAME_BITS(a.dk, b.dk);
  EXPECT_SAME_BITS(a.dv, b.dv);
}

simt::Memory<int32_t>& fill(simt::Memory<int32_t>& memory, const std::vector<int32_t>& values) {
  std::copy(values.begin(), values.end(), memory.begin());
  return memory;
}

// Forward and, if there is a dy, backward. All columns but the heads' hold NaN.
template <class T>
Results run(T, const Heads& h, const Documents& documents, const Values& values,
            uint64_t seed = 1) {
  const int64_t tokens = documents.tokens(), lse_pitch = (tokens + 63) / 64 * 64 + 64;
  simt::Stream stream(seed);
  simt::Memory<int32_t> begins(size_t(tokens), "begins"), positions(size_t(tokens), "positions");
  fill(begins, documents.begins), fill(positions, documents.positions);
  Rows<T> qkv(tokens, h.width()), y(tokens, h.q_width());
  qkv.write(0, h.q_width(), values.q);
  qkv.write(h.key_column(), h.kv_width(), values.k);
  qkv.write(h.value_column(), h.kv_width(), values.v);
  simt::Memory<float> lse(size_t(h.heads * lse_pitch), "lse");
  const AttentionInputs<T> in = {tokens,
                                 h.heads,
                                 h.kv_heads,
                                 h.dim,
                                 qkv.data(),
                                 qkv.pitch(),
                                 qkv.data() + h.key_column(),
                                 qkv.data() + h.value_column(),
                                 qkv.pitch(),
                                 begins.data(),
                                 positions.data()};
  EXPECT_RUNS(attention_forward(
      &stream, AttentionForward<T>{in, y.data(), y.pitch(), lse.data(), lse_pitch}));
  EXPECT(y.padding_survives());
  Results results;
  results.y = y.values();
  for (int64_t head = 0; head < h.heads; ++head)
    for (int64_t t = 0; t < lse_pitch; ++t) {
      const float value = lse[size_t(head * lse_pitch + t)];
      if (t < tokens)
        results.lse.push_back(value);
      else
        EXPECT(std::isnan(value));
    }
  if (values.dy.empty()) return results;

  Rows<T> dy(tokens, h.q_width(), values.dy), d(tokens, h.width());
  simt::Memory<float> workspace(size_t(attention_workspace(tokens, h.heads)), "workspace");
  EXPECT_RUNS(attention_backward(
      &stream,
      AttentionBackward<T>{in, y.data(), y.pitch(), lse.data(), lse_pitch, dy.data(), dy.pitch(),
                           d.data(), d.data() + h.key_column(), d.data() + h.value_column(),
                           d.pitch(), d.pitch(), workspace.data()}));
  EXPECT(d.untouched_outside({{0, h.q_width()},
                              {h.key_column(), h.key_column() + h.kv_width()},
                              {h.value_column(), h.width()}}));
  results.dq = d.read(0, h.q_width());
  results.dk = d.read(h.key_column(), h.kv_width());
  results.dv = d.read(h.value_column(), h.kv_width());
  return results;
}

// What bf16 adds to the relative error of each term: p and ds are rounded before they are
// multiplied, and y before D.
template <class T>
constexpr double kScoreRounding = std::is_same_v<T, float> ? 0.0 : kBf16Half;

template <class T>
void expect_attention(T type, const Heads& h, const Documents& documents, const Values& values) {
  const Results found = run(type, h, documents, values);
  Oracle oracle(h, documents, as_double(values.q), as_double(values.k), as_double(values.v));
  oracle.differentiate(as_double(values.dy));
  const double error = oracle.error(), y_error = error + kScoreRounding<T>;
  const double d_error = 2 * error + 2 * kScoreRounding<T>;
  EXPECT_WITHIN(found.lse, oracle.lse,
                [&](size_t i) { return error + rounding<float>(oracle.lse[i]); });
  // A result is rounded after its errors: hence the products of both.
  const auto within = [](const std::vector<double>& terms, const std::vector<double>& expected,
                         double relative) {
    return [&terms, &expected, relative](size_t i) {
      return relative * terms[i] * (1 + kScoreRounding<T>)+rounding<T>(expected[i]);
    };
  };
  EXPECT_WITHIN(found.y, oracle.y, within(oracle.y_terms, oracle.y, y_error));
  EXPECT_WITHIN(found.dq, oracle.dq, within(oracle.dq_terms, oracle.dq, d_error));
  EXPECT_WITHIN(found.dk, oracle.dk, within(oracle.dk_terms, oracle.dk, d_error));
  EXPECT_WITHIN(found.dv, oracle.dv, within(oracle.dv_terms, oracle.dv, d_error));
}

}  // namespace

// Scores so far apart that every probability is 1 or next to nothing: y is the chosen row's value
// and, in bf16, which rounds p to 1, dv the sum of the gradients of those that chose it.
TEST(attentionToOneRowIsExact) {
  on_both_types([](auto type) {
    using T = decltype(type);
    for (const Heads& h : {Heads{3, 1, 32}, Heads{4, 1, 64}, Heads{2, 2, 128}, Heads{1, 1, 256}}) {
      const Documents documents({65, 1, 64, 70});
      const int64_t tokens = documents.tokens();
      Random random(uint64_t(h.dim));
      Values values{std::vector<float>(size_t(tokens * h.q_width())),
                    random.integers(tokens * h.kv_width(), 1),
                    random.integers(tokens * h.kv_width(), 5),
                    random.integers(tokens * h.q_width(), 2)};
      for (float& key : values.k) key = key > 0 ? 1.0f : -1.0f;
      std::vector<float> y(values.q.size()), dv(values.v.size());
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t head = 0; head < h.heads; ++head) {
          const int64_t row =
              documents.begins[size_t(t)] + random.below(documents.positions[size_t(t)] + 1);
          for (int64_t d = 0; d < h.dim; ++d) {
            const size_t key = size_t(row * h.kv_width() + h.kv_head(head) * h.dim + d);
            const size_t query = size_t(t * h.q_width() + head * h.dim + d);
            values.q[query] = 512 * values.k[key];
            y[query] = values.v[key];
            dv[key] += values.dy[query];
          }
        }
      const Results found = run(type, h, documents, values);
      EXPECT_SAME_BITS(found.y, y);
      if (!std::is_same_v<T, float>)
        EXPECT_WITHIN(found.dv, as_double(dv), [](size_t) { return 1e-6; });
    }
  });
}

TEST(attentionOfOneTokenReturnsItsValue) {
  on_both_types([](auto type) {
    const Heads h = {6, 2, 64};
    const Documents documents(std::vector<int>(130, 1));
    Random random(3);
    Values values = Values::random(type, h, 130, 3);
    values.v = random.integers(130 * h.kv_width(), 5);
    values.dy = random.integers(130 * h.q_width(), 5);
    std::fill(values.q.begin(), values.q.end(), 0.0f);
    const Results found = run(type, h, documents, values);
    std::vector<float> y, zeros(values.q.size()), dv(values.v.size());
    for (int64_t t = 0; t < 130; ++t)
      for (int64_t i = 0; i < h.q_width(); ++i) {
        const size_t at = size_t(t * h.kv_width() + h.kv_head(i / h.dim) * h.dim + i % h.dim);
        y.push_back(values.v[at]);
        dv[at] += values.dy[size_t(t * h.q_width() + i)];
      }
    EXPECT_SAME_BITS(found.y, y);
    EXPECT_SAME_BITS(found.lse, std::vector<float>(size_t(130 * h.heads)));
    EXPECT_WITHIN(found.dv, as_double(dv), [](size_t) { return 0.0; });
    EXPECT_WITHIN(found.dq, as_double(zeros), [](size_t) { return 0.0; });
    EXPECT_WITHIN(found.dk, std::vector<double>(values.k.size()), [](size_t) { return 0.0; });
  });
}

TEST(attentionMatchesDoubleForwardAndBackward) {
  on_both_types([](auto type) {
    for (const Heads& h : kShapes)
      for (const int64_t tokens : {1, 65, 200})
        expect_attention(type, h, Documents(document_lengths(tokens)),
                         Values::random(type, h, tokens, uint64_t(tokens)));
  });
}

TEST(attentionMatchesDoubleOnOneDocument) {
  on_both_types([](auto type) {
    for (const Heads& h : {Heads{1, 1, 64}, Heads{3, 1, 16}, Heads{4, 1, 128}})
      for (const int tokens : {1, 63, 64, 65, 200})
        expect_attention(type, h, Documents({tokens}), Values::random(type, h, tokens, 5));
  });
}

// Nothing says that tokens come in the order of their rows.
TEST(attentionTakesAnyRanges) {
  on_both_types([](auto type) {
    for (const Heads& h : {Heads{2, 1, 64}, Heads{2, 1, 128}}) {
      Random random(8);
      Documents documents({150});
      for (int t = 0; t < 150; ++t) {
        documents.begins[size_t(t)] = random.below(150);
        documents.positions[size_t(t)] = random.below(150 - documents.begins[size_t(t)]);
      }
      expect_attention(type, h, documents, Values::random(type, h, 150, 8));
    }
  });
}

TEST(attentionGradientIsTheCentralDifference) {
  const Heads h = {2, 1, 4};
  const Documents documents({3, 1, 2});
  const Values values = Values::random(float(), h, 6, 2);
  const std::vector<double> dy = as_double(values.dy);
  const std::vector<double> inputs[] = {as_double(values.q), as_double(values.k),
                                        as_double(values.v)};
  Oracle oracle(h, documents, inputs[0], inputs[1], inputs[2]);
  oracle.differentiate(dy);
  const std::vector<double>* gradients[] = {&oracle.dq, &oracle.dk, &oracle.dv};
  for (int which = 0; which < 3; ++which)
    for (size_t i = 0; i < inputs[which].size(); ++i) {
      const auto objective = [&](double step) {
        std::vector<double> moved[] = {inputs[0], inputs[1], inputs[2]};
        moved[which][i] += step;
        const Oracle there(h, documents, moved[0], moved[1], moved[2]);
        double sum = 0;
        for (size_t j = 0; j < dy.size(); ++j) sum += there.y[j] * dy[j];
        return sum;
      };
      const double difference = (objective(1e-5) - objective(-1e-5)) / 2e-5;
      EXPECT(std::fabs((*gradients[which])[i] - difference) < 1e-7);
    }
}

TEST(packedDocumentsAreSeparateDocuments) {
  on_both_types([](auto type) {
    for (const Heads& h : {Heads{4, 2, 16}, Heads{3, 1, 64}, Heads{2, 2, 128}}) {
      const std::vector<int> lengths = {64, 128, 30};  // from tile to tile: sums have one order
      const Documents documents(lengths);
      const Values values = Values::random(type, h, documents.tokens(), 4);
      const Results together = run(type, h, documents, values);
      Results apart;
      int64_t t = 0;
      for (const int length : lengths) {
        const auto rows = [&](const std::vector<float>& all, int64_t width) {
          return std::vector<float>(all.begin() + t * width, all.begin() + (t + length) * width);
        };
        const Results one = run(type, h, Documents({length}),
                                {rows(values.q, h.q_width()), rows(values.k, h.kv_width()),
                                 rows(values.v, h.kv_width()), rows(values.dy, h.q_width())});
        const auto append = [](std::vector<float>& all, const std::vector<float>& part) {
          all.insert(all.end(), part.begin(), part.end());
        };
        append(apart.y, one.y), append(apart.dq, one.dq);
        append(apart.dk, one.dk), append(apart.dv, one.dv);
        t += length;
      }
      apart.lse = together.lse;  // another layout; the gradients depend on it
      expect_same(together, apart);
    }
  });
}

// A document whose rows are not finite does not reach documents in other tiles.
TEST(documentsWithNanKeepThemToThemselves) {
  on_both_types([](auto type) {
    const Heads h = {2, 1, 64};
    const Documents documents({64, 64, 64});
    Values values = Values::random(type, h, 192, 6);
    values.dy.clear();
    const Results before = run(type, h, documents, values);
    std::fill(values.k.begin() + 64 * h.kv_width(), values.k.begin() + 128 * h.kv_width(), NAN);
    std::fill(values.v.begin() + 64 * h.kv_width(), values.v.begin() + 128 * h.kv_width(), NAN);
    const Results after = run(type, h, documents, values);
    const auto outside = [&](const Results& results) {
      std::vector<float> y(results.y.begin(), results.y.begin() + 64 * h.q_width());
      y.insert(y.end(), results.y.begin() + 128 * h.q_width(), results.y.end());
      return y;
    };
    EXPECT_SAME_BITS(outside(before), outside(after));
    EXPECT(std::isnan(after.y[size_t(64 * h.q_width())]));
  });
}

TEST(attentionDoesNotDependOnTheOrderOfWarps) {
  on_both_types([](auto type) {
    for (const Heads& h : {Heads{4, 2, 16}, Heads{3, 1, 64}, Heads{2, 1, 128}, Heads{1, 1, 256}}) {
      const Documents documents({100, 30});
      const Values values = Values::random(type, h, 130, 7);
      expect_same(run(type, h, documents, values, kSeeds[0]),
                  run(type, h, documents, values, kSeeds[1]));
    }
  });
}

namespace {

// Feeds two documents to a cache, `step` tokens of each at a time, and collects what comes out.
// Rows of the cache that nobody has stored hold NaN.
template <class T>
std::vector<float> through_cache(T, const Heads& h, const Values& values,
                                 const std::vector<int>& lengths, int step, bool tiles,
                                 int32_t splits, uint64_t seed = 1) {
  const int64_t room = lengths[0] + lengths[1] + 20;
  simt::Stream stream(seed);
  Rows<T> cache(room, 2 * h.kv_width() + h.gap);
  T* const cache_v = cache.data() + h.kv_width() + h.gap;
  std::vector<float> result(size_t((lengths[0] + lengths[1]) * h.q_width()));
  for (int at = 0; at < std::max(lengths[0], lengths[1]); at += step) {
    std::vector<int32_t> begins, positions;
    std::vector<int64_t> rows;
    for (size_t document = 0; document < 2; ++document)
      for (int i = at; i < std::min(at + step, lengths[document]); ++i) {
        positions.push_back(i);
        begins.push_back(document == 0 ? 3 : lengths[0] + 10);
        rows.push_back(document == 0 ? i : lengths[0] + i);
      }
    const int64_t tokens = int64_t(rows.size());
    const auto part = [&](const std::vector<float>& all, int64_t width) {
      std::vector<float> some;
      for (const int64_t row : rows)
        some.insert(some.end(), all.begin() + row * width, all.begin() + (row + 1) * width);
      return some;
    };
    simt::Memory<int32_t> device_begins(rows.size()), device_positions(rows.size());
    fill(device_begins, begins), fill(device_positions, positions);
    Rows<T> qkv(tokens, h.width()), y(tokens, h.q_width());
    qkv.write(0, h.q_width(), part(values.q, h.q_width()));
    qkv.write(h.key_column(), h.kv_width(), part(values.k, h.kv_width()));
    qkv.write(h.value_column(), h.kv_width(), part(values.v, h.kv_width()));
    simt::Memory<float> workspace(
        size_t(attention_cached_workspace(tokens, h.heads, h.dim, splits)));
    AttentionCached<T> op = {
        {tokens, h.heads, h.kv_heads, h.dim, qkv.data(), qkv.pitch(), nullptr, nullptr,
         cache.pitch(), device_begins.data(), device_positions.data()},
        qkv.data() + h.key_column(),
        qkv.data() + h.value_column(),
        qkv.pitch(),
        cache.data(),
        cache_v,
        y.data(),
        y.pitch(),
        tiles,
        splits,
        workspace.data()};
    EXPECT_RUNS(attention_cached(&stream, op));
    EXPECT(y.padding_survives());
    const std::vector<float> found = y.values();
    for (size_t i = 0; i < found.size(); ++i) {
      const size_t width = size_t(h.q_width());
      result[size_t(rows[i / width]) * width + i % width] = found[i];
    }
  }
  EXPECT(cache.untouched_outside(
      {{0, h.kv_width()}, {h.kv_width() + h.gap, 2 * h.kv_width() + h.gap}}));
  return result;
}

}  // namespace

TEST(attentionThroughACacheIsAttention) {
  on_both_types([](auto type) {
    using T = decltype(type);
    const std::vector<int> lengths = {75, 40};
    const Documents documents(lengths);
    for (const Heads& h : {Heads{1, 1, 2, 2}, Heads{6, 2, 6}, Heads{5, 1, 16}, Heads{3, 1, 32},
                           Heads{4, 2, 64}, Heads{2, 1, 128}, Heads{1, 1, 132}, Heads{1, 1, 256}}) {
      const Values values = Values::random(type, h, documents.tokens(), 6);
      const Oracle oracle(h, documents, as_double(values.q), as_double(values.k),
                          as_double(values.v));
      const double error = oracle.error() + kScoreRounding<T>;
      const auto bound = [&](size_t i) {
        return error * oracle.y_terms[i] * (1 + kScoreRounding<T>)+rounding<T>(oracle.y[i]);
      };
      const auto expect = [&](int step, bool tiles, int32_t splits) {
        EXPECT_WITHIN(through_cache(type, h, values, lengths, step, tiles, splits), oracle.y,
                      bound);
      };
      if (h.dim == 64) expect(1, false, 1);
      if (h.dim == 64) expect(3, true, 1);
      expect(16, false, 1);
      expect(30, true, 1);
      expect(40, false, 3);
      expect(75, true, 1);
    }
  });
}

TEST(cachedAttentionDoesNotDependOnTheOrderOfWarps) {
  on_both_types([](auto type) {
    const Heads h = {6, 2, 64};
    const Values values = Values::random(type, h, 70, 9);
    for (const int32_t splits : {1, 3}) {
      const auto with = [&](uint64_t seed) {
        return through_cache(type, h, values, {40, 30}, 20, false, splits, seed);
      };
      EXPECT_SAME_BITS(with(kSeeds[0]), with(kSeeds[1]));
    }
  });
}

TEST(promptsGoByTilesAndSingleTokensDoNot) {
  const Documents prompt({500});
  EXPECT(attention_prefers_tiles(500, prompt.begins.data(), prompt.positions.data()));
  // One token each of 64 sequences.
  std::vector<int32_t> begins, positions;
  for (int i = 0; i < 64; ++i) begins.push_back(i * 600), positions.push_back(500);
  EXPECT(!attention_prefers_tiles(64, begins.data(), positions.data()));
  EXPECT(attention_splits(1, 8, 4096) == 16);
  EXPECT(attention_splits(1, 8, 100) == 1);
  EXPECT(attention_splits(64, 8, 100000) == 1);
}

TEST(attentionRefusesHeadsItCannotDivide) {
  simt::Stream stream;
  AttentionForward<float> op{};
  op.in.tokens = 1, op.in.heads = 3, op.in.kv_heads = 2, op.in.head_dim = 64;
  EXPECT(std::string(attention_forward(&stream, op)).find("kv_heads") != std::string::npos);
  op.in.kv_heads = 1, op.in.head_dim = 258;
  EXPECT(std::string(attention_forward(&stream, op)).find("head_dim") != std::string::npos);
  op.in.head_dim = 64, op.in.tokens = 0;
  EXPECT_RUNS(attention_forward(&stream, op));
}
