#include "cuda/skinny.h"

#include <algorithm>
#include <memory>

#include "cpu/philox.h"
#include "rows_testing.h"

using namespace rora;
using namespace rora::cuda;
using namespace rora::testing;

namespace {

struct Shape {
  int64_t out, rank;
  bool dora = false;
};

struct Case {
  int64_t tokens, in;
  std::vector<Shape> projections;
  float dropout = 0.0f;
  // Columns and pitches in whole chunks of 16 bytes; else columns are only even, and adapters and
  // their gradients tight.
  bool packs = true;
};

// GPUs that make the host functions choose each of their tiles.
const Machine kFewTiles = {99 * 1024, 1};
const Machine kLargeTiles = {227 * 1024, 1};
const Machine kSlices = {99 * 1024, 1000};
const Machine kMachines[] = {kFewTiles, kLargeTiles, kSlices};

constexpr uint64_t kDropoutSeed = 0x123456789abcdefull, kStep = 77;
constexpr uint32_t kStream = 5;
constexpr float kScaling = 0.5f;  // of projection p: kScaling (p + 1)

int64_t up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// The values of one group. Integers are small enough for every sum to be exact.
struct Data {
  std::vector<float> x;  // [tokens, in]
  std::vector<int32_t> order;
  std::vector<std::vector<float>> a, b, h, g, dy, scale;
};

template <class T>
Data make_data(T, const Case& c, bool integers, uint64_t seed = 20250104) {
  Random random(seed + uint64_t(c.tokens * 7 + c.in));
  const auto values = [&](int64_t count) {
    return as<T>(integers ? random.integers(count, 3) : random.normal(count));
  };
  Data d;
  d.x = values(c.tokens * c.in);
  for (int64_t t = 0; t < c.tokens; ++t) d.order.push_back(random.below(1000));
  for (const Shape& p : c.projections) {
    d.a.push_back(values(p.rank * c.in));
    d.b.push_back(values(p.out * p.rank));
    d.h.push_back(values(c.tokens * p.rank));
    d.g.push_back(values(c.tokens * p.rank));
    d.dy.push_back(values(c.tokens * p.out));
    std::vector<float> scale;
    for (int64_t n = 0; n < p.out; ++n)
      scale.push_back(!p.dora    ? 1.0f
                      : integers ? std::ldexp(1.0f, random.below(3) - 1)
                                 : 0.5f + float(random.below(1000)) / 1000.0f);
    d.scale.push_back(scale);
  }
  return d;
}

float scaling_of(size_t p) { return kScaling * float(p + 1); }

// The CPU's mask.
double factor(const Case& c, const Data& d, size_t p, int64_t t, int64_t k) {
  if (!(c.dropout > 0)) return 1.0;
  const uint32_t word =
      rora::dropout_word(kDropoutSeed, kStep, kStream + uint32_t(p), d.order[size_t(t)], k);
  return word >= rora::dropout_threshold(c.dropout) ? double(1.0f / (1.0f - c.dropout)) : 0.0;
}

// A [rows, columns] sum of products with the sum of their absolute values.
struct Expected {
  std::vector<double> value, terms;
};

template <class Term>
Expected sums(int64_t rows, int64_t columns, int64_t count, double start, const Term& term) {
  Expected e;
  for (int64_t m = 0; m < rows; ++m)
    for (int64_t n = 0; n < columns; ++n) {
      double sum = start, terms = std::fabs(start);
      for (int64_t i = 0; i < count; ++i) {
        const double value = term(m, n, i);
        sum += value, terms += std::fabs(value);
      }
      e.value.push_back(sum), e.terms.push_back(terms);
    }
  return e;
}

double at(const std::vector<float>& matrix, int64_t row, int64_t width, int64_t column) {
  return double(matrix[size_t(row * width + column)]);
}

constexpr float kStart = 7.0f;  // what gradients hold before

Expected expected_h(const Case& c, const Data& d, size_t p) {
  return sums(c.tokens, c.projections[p].rank, c.in, 0, [&](int64_t t, int64_t j, int64_t k) {
    return double(scaling_of(p)) * at(d.x, t, c.in, k) * factor(c, d, p, t, k) *
           at(d.a[p], j, c.in, k);
  });
}
Expected expected_g(const Case& c, const Data& d, size_t p) {
  const Shape& s = c.projections[p];
  return sums(c.tokens, s.rank, s.out, 0, [&](int64_t t, int64_t j, int64_t n) {
    return double(scaling_of(p)) * double(d.scale[p][size_t(n)]) * at(d.dy[p], t, s.out, n) *
           at(d.b[p], n, s.rank, j);
  });
}
Expected expected_da(const Case& c, const Data& d, size_t p) {
  const int64_t rank = c.projections[p].rank;
  return sums(rank, c.in, c.tokens, kStart, [&](int64_t j, int64_t k, int64_t t) {
    return at(d.g[p], t, rank, j) * at(d.x, t, c.in, k) * factor(c, d, p, t, k);
  });
}
Expected expected_db(const Case& c, const Data& d, size_t p) {
  const Shape& s = c.projections[p];
  return sums(s.out, s.rank, c.tokens, kStart, [&](int64_t n, int64_t j, int64_t t) {
    return double(d.scale[p][size_t(n)]) * at(d.dy[p], t, s.out, n) * at(d.h[p], t, s.rank, j);
  });
}
Expected expected_dw(const Case& c, const Data& d, size_t p) {
  const int64_t out = c.projections[p].out;
  return sums(out, c.in, c.tokens, kStart, [&](int64_t n, int64_t k, int64_t t) {
    return at(d.dy[p], t, out, n) * at(d.x, t, c.in, k);
  });
}

// What the host functions make of a group.
struct Found {
  std::vector<std::vector<float>> h, g, da, db, dw;
};

// The group in the emulation's memory.
template <class T>
class Group {
 public:
  Group(const Case& c, const Data& d, const Machine& machine, uint64_t seed)
      : case_(c), machine_(machine), stream_(seed), order_(size_t(c.tokens)) {
    const int64_t unit = c.packs ? 8 : 2;
    int64_t x_width = up(c.in, unit), dy_width = 0;
    for (const Shape& s : c.projections) {
      columns_.push_back(dy_width);
      dy_width = up(dy_width + s.out, unit);
    }
    for (const Shape& s : c.projections) {
      x_tails_.push_back(x_width), dy_tails_.push_back(dy_width);
      x_width = up(x_width + s.rank, unit), dy_width = up(dy_width + s.rank, unit);
    }
    x_ = std::make_unique<Rows<T>>(c.tokens, x_width);
    dy_ = std::make_unique<Rows<T>>(c.tokens, dy_width);
    x_->write(0, c.in, d.x);
    std::copy(d.order.begin(), d.order.end(), order_.begin());
    for (size_t p = 0; p < c.projections.size(); ++p) {
      const Shape& s = c.projections[p];
      const auto matrix = [&](int64_t rows, int64_t width, const std::vector<float>& values) {
        return std::make_unique<Rows<T>>(rows, width, values, pitch_of(width));
      };
      const auto gradient = [&](int64_t rows, int64_t width) {
        return std::make_unique<Rows<float>>(
            rows, width, std::vector<float>(size_t(rows * width), kStart), pitch_of(width));
      };
      dy_->write(columns_[p], s.out, d.dy[p]);
      scale_.push_back(std::make_unique<simt::Memory<float>>(d.scale[p].size()));
      fill(*scale_.back(), d.scale[p]);
      a_.push_back(matrix(s.rank, c.in, d.a[p])), b_.push_back(matrix(s.out, s.rank, d.b[p]));
      da_.push_back(gradient(s.rank, c.in)), db_.push_back(gradient(s.out, s.rank));
      dw_.push_back(gradient(s.out, c.in));
    }
  }

  // H' and G' as computed, then the sums with those of `d` instead.
  Found run(const Data& d) {
    Found found;
    shrinks();
    const size_t count = case_.projections.size();
    for (size_t p = 0; p < count; ++p) {
      const int64_t rank = case_.projections[p].rank;
      found.h.push_back(x_->read(x_tails_[p], rank)),
          found.g.push_back(dy_->read(dy_tails_[p], rank));
      x_->write(x_tails_[p], rank, d.h[p]), dy_->write(dy_tails_[p], rank, d.g[p]);
    }
    all_sums();
    std::vector<std::pair<int64_t, int64_t>> x_used = {{0, case_.in}}, dy_used;
    for (size_t p = 0; p < count; ++p) {
      const Shape& s = case_.projections[p];
      x_used.push_back({x_tails_[p], x_tails_[p] + s.rank});
      dy_used.push_back({columns_[p], columns_[p] + s.out});
      dy_used.push_back({dy_tails_[p], dy_tails_[p] + s.rank});
      found.da.push_back(da_[p]->values()), found.db.push_back(db_[p]->values());
      found.dw.push_back(dw_[p]->values());
      EXPECT(da_[p]->padding_survives() && db_[p]->padding_survives());
      EXPECT(dw_[p]->padding_survives());
    }
    EXPECT(x_->untouched_outside(x_used) && dy_->untouched_outside(dy_used));
    return found;
  }

 private:
  int64_t pitch_of(int64_t width) const { return case_.packs || width == 0 ? 0 : width; }

  Dropout dropout_of(size_t p) const {
    return make_dropout(case_.dropout, kDropoutSeed, kStep, kStream + uint32_t(p));
  }
  const int32_t* order() { return case_.dropout > 0 ? order_.data() : nullptr; }

  template <class Op>
  void give_workspace(Op& op, int64_t floats) {
    workspace_ = std::make_unique<simt::Memory<float>>(size_t(floats));
    op.workspace = workspace_->data(), op.workspace_floats = floats;
  }

  void shrinks() {
    ShrinkForward<T> f;
    ShrinkBackward<T> b;
    f.tokens = b.tokens = case_.tokens, f.in = case_.in, f.order = order();
    f.x = x_->data(), f.x_pitch = x_->pitch(), b.dy = dy_->data(), b.dy_pitch = dy_->pitch();
    f.projections = b.projections = int32_t(case_.projections.size());
    for (size_t p = 0; p < case_.projections.size(); ++p) {
      const Shape& s = case_.projections[p];
      auto& o = f.projection[p];
      o.rank = s.rank, o.scaling = scaling_of(p), o.dropout = dropout_of(p);
      o.lora_A = a_[p]->data(), o.lora_A_pitch = a_[p]->pitch(), o.h = x_->data() + x_tails_[p];
      auto& q = b.projection[p];
      q.out = s.out, q.column = columns_[p], q.rank = s.rank, q.scaling = scaling_of(p);
      q.row_scale = s.dora ? scale_[p]->data() : nullptr;
      q.lora_B = b_[p]->data(), q.lora_B_pitch = b_[p]->pitch(), q.g = dy_->data() + dy_tails_[p];
    }
    give_workspace(f, shrink_workspace(machine_, f));
    EXPECT_RUNS(shrink_forward(&stream_, machine_, f));
    give_workspace(b, shrink_workspace(machine_, b));
    EXPECT_RUNS(shrink_backward(&stream_, machine_, b));
  }

  void all_sums() {
    AdapterSums<T> a;
    WeightSums<T> w;
    a.tokens = w.tokens = case_.tokens, a.in = w.in = case_.in, a.order = order();
    a.x = w.x = x_->data(), a.x_pitch = w.x_pitch = x_->pitch();
    a.dy = w.dy = dy_->data(), a.dy_pitch = w.dy_pitch = dy_->pitch();
    a.projections = w.projections = int32_t(case_.projections.size());
    for (size_t p = 0; p < case_.projections.size(); ++p) {
      const Shape& s = case_.projections[p];
      auto& o = a.projection[p];
      o.out = s.out, o.column = columns_[p], o.rank = s.rank, o.dropout = dropout_of(p);
      o.h = x_->data() + x_tails_[p], o.g = dy_->data() + dy_tails_[p];
      o.lora_A_gradient = da_[p]->data(), o.lora_A_pitch = da_[p]->pitch();
      o.lora_B_gradient = db_[p]->data(), o.lora_B_pitch = db_[p]->pitch();
      o.row_scale = s.dora ? scale_[p]->data() : nullptr;
      auto& q = w.projection[p];
      q.out = s.out, q.column = columns_[p], q.gradient = dw_[p]->data();
      q.pitch = dw_[p]->pitch();
    }
    give_workspace(a, sums_workspace(machine_, a));
    EXPECT_RUNS(adapter_sums(&stream_, machine_, a));
    give_workspace(w, sums_workspace(machine_, w));
    EXPECT_RUNS(weight_sums(&stream_, machine_, w));
  }

  Case case_;
  Machine machine_;
  simt::Stream stream_;
  simt::Memory<int32_t> order_;
  std::unique_ptr<simt::Memory<float>> workspace_;
  std::vector<int64_t> columns_, x_tails_, dy_tails_;
  std::unique_ptr<Rows<T>> x_, dy_;
  std::vector<std::unique_ptr<Rows<T>>> a_, b_;
  std::vector<std::unique_ptr<Rows<float>>> da_, db_, dw_;
  std::vector<std::unique_ptr<simt::Memory<float>>> scale_;
};

template <class T>
Found found(T, const Case& c, const Data& d, const Machine& machine, uint64_t seed = 1) {
  return Group<T>(c, d, machine, seed).run(d);
}

// Sizes on both sides of tiles of 64 and of chunks of 8, ranks of all kinds, dropout and DoRA.
std::vector<Case> cases() {
  return {
      {1, 1, {{1, 1}}},
      {1, 7, {{5, 2, true}, {1, 0}}, 0.5f, false},
      {3, 33, {{9, 8}}, 0.0f},
      {65, 97, {{66, 33}, {12, 5, true}}, 0.5f, false},
      {66, 97, {{66, 33, true}, {12, 5}}, 0.5f},
      {130, 72, {{129, 8}, {64, 16}, {3, 0, true}}},
      {300, 64, {{64, 64}, {64, 8, true}, {64, 70}, {1, 1}}, 0.5f},
      {17, 640, {{72, 20, true}, {31, 3}}, 0.5f},
      {600, 20, {{17, 130}}},
  };
}

template <class Body>
void for_each_case(const Body& body) {
  on_both_types([&](auto t) {
    for (const Machine& machine : kMachines)
      for (const Case& c : cases())
        if (sizeof(t) == 2 || machine.shared_limit <= kFewTiles.shared_limit) body(t, machine, c);
  });
}

}  // namespace

TEST(smallIntegersAreExact) {
  for_each_case([](auto t, const Machine& machine, const Case& c) {
    const Data d = make_data(t, c, true);
    const Found f = found(t, c, d, machine);
    for (size_t p = 0; p < c.projections.size(); ++p) {
      EXPECT_WITHIN(f.h[p], stored(t, expected_h(c, d, p).value), kExact);
      EXPECT_WITHIN(f.g[p], stored(t, expected_g(c, d, p).value), kExact);
      EXPECT_WITHIN(f.da[p], expected_da(c, d, p).value, kExact);
      EXPECT_WITHIN(f.db[p], expected_db(c, d, p).value, kExact);
      EXPECT_WITHIN(f.dw[p], expected_dw(c, d, p).value, kExact);
    }
  });
}

TEST(resultsAreWithinTheBoundsOfDoubleLoops) {
  for_each_case([](auto t, const Machine& machine, const Case& sample) {
    using T = decltype(t);
    Case c = sample;
    if (c.dropout > 0) c.dropout = 0.1f;
    const Data d = make_data(t, c, false);
    const Found f = found(t, c, d, machine);
    // `count` terms, then scale, factor, what was there, the sum of slices.
    const auto expect = [](const std::vector<float>& values, const Expected& e, int64_t count,
                           bool rounded, bool scaled) {
      EXPECT_WITHIN(values, e.value, [&](size_t i) {
        const double sum =
            double(count + 5) * kFloatHalf * e.terms[i] + (scaled ? rounding<T>(e.terms[i]) : 0.0);
        return sum + (rounded ? rounding<T>(std::fabs(e.value[i]) + sum) : 0.0);
      });
    };
    for (size_t p = 0; p < c.projections.size(); ++p) {
      const Shape& s = c.projections[p];
      expect(f.h[p], expected_h(c, d, p), c.in, true, false);
      expect(f.g[p], expected_g(c, d, p), s.out, true, s.dora);
      expect(f.da[p], expected_da(c, d, p), c.tokens, false, false);
      expect(f.db[p], expected_db(c, d, p), c.tokens, false, false);
      expect(f.dw[p], expected_dw(c, d, p), c.tokens, false, false);
    }
  });
}

TEST(everyOrderOfWarpsAndBlocksGivesTheSameBits) {
  for_each_case([](auto t, const Machine& machine, const Case& c) {
    if (c.tokens > 70) return;
    const Data d = make_data(t, c, false);
    const Found one = found(t, c, d, machine, 3), other = found(t, c, d, machine, 4);
    for (size_t p = 0; p < c.projections.size(); ++p) {
      EXPECT_SAME_BITS(one.h[p], other.h[p]);
      EXPECT_SAME_BITS(one.g[p], other.g[p]);
      EXPECT_SAME_BITS(one.da[p], other.da[p]);
      EXPECT_SAME_BITS(one.db[p], other.db[p]);
      EXPECT_SAME_BITS(one.dw[p], other.dw[p]);
    }
  });
}

// lora_A of two adapters in one block of memory, H' side by side: one matrix, the same bits.
TEST(neighbouringAdaptersReadTheInputOnce) {
  on_both_types([](auto t) {
    using T = decltype(t);
    const int64_t tokens = 20, in = 40, rank = 24, both = 2 * rank;
    Random random(1);
    const std::vector<float> values = as<T>(random.normal(tokens * in));
    const std::vector<float> weights = as<T>(random.normal(both * in));
    std::vector<std::vector<float>> results;
    for (const bool neighbours : {true, false}) {
      simt::Stream stream;
      Rows<T> x(tokens, in + both), a(both, in, weights), copy(both, in, weights);
      x.write(0, in, values);
      ShrinkForward<T> op;
      op.tokens = tokens, op.in = in, op.projections = 2, op.x = x.data(), op.x_pitch = x.pitch();
      for (int p = 0; p < 2; ++p) {
        auto& o = op.projection[p];
        Rows<T>& from = p == 1 && !neighbours ? copy : a;
        o.rank = rank, o.scaling = 1.5f;
        o.lora_A = from.data() + p * rank * from.pitch(), o.lora_A_pitch = from.pitch();
        o.h = x.data() + in + p * rank;
      }
      EXPECT_RUNS(shrink_forward(&stream, kFewTiles, op));
      results.push_back(x.read(in, both));
    }
    EXPECT_SAME_BITS(results[0], results[1]);
  });
}

TEST(noTokensAreNothing) {
  on_both_types([](auto t) {
    const Case c = {0, 8, {{8, 4}}};
    const Data d = make_data(t, c, true);
    const Found f = found(t, c, d, kSlices);
    EXPECT(f.da[0] == std::vector<float>(size_t(4 * 8), kStart));
    EXPECT(f.dw[0] == std::vector<float>(size_t(8 * 8), kStart));
  });
}
