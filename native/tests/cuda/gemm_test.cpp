#include "cuda/gemm.h"

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
  bool dora = false, bias = false;
};

struct Case {
  int64_t tokens, in;
  std::vector<Shape> projections;
  bool residual = false;  // backward: accumulate
  // Columns, ranks and weights' pitches in whole chunks of 16 bytes; else columns are only even and
  // weights tight.
  bool packs = true;
  float dropout = 0.0f;
};

constexpr uint64_t kDropoutSeed = 0x123456789abcdefull, kStep = 77;
constexpr uint32_t kMaskStream = 5;

// GPUs that make the host functions choose each of their tiles.
const Machine kBaseTiles = {99 * 1024, 1};
const Machine kLargeTiles = {227 * 1024, 1};
const Machine kSlices = {99 * 1024, 1000};
const Machine kMachines[] = {kBaseTiles, kLargeTiles, kSlices};

int64_t up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

// The values of one group. Integers are small enough for every sum to be exact.
struct Data {
  std::vector<float> x, residual;  // [tokens, in], [tokens, out] side by side
  std::vector<int32_t> order;
  std::vector<std::vector<float>> w, b, a, h, g, dy, scale, bias;
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
    d.w.push_back(values(p.out * c.in));
    d.b.push_back(values(p.out * p.rank));
    d.a.push_back(values(p.rank * c.in));
    d.h.push_back(values(c.tokens * p.rank));
    d.g.push_back(values(c.tokens * p.rank));
    d.dy.push_back(values(c.tokens * p.out));
    d.bias.push_back(integers ? random.integers(p.out, 3) : random.normal(p.out));
    std::vector<float> scale;
    for (int64_t n = 0; n < p.out; ++n)
      scale.push_back(integers ? std::ldexp(1.0f, random.below(3) - 1)
                               : 0.5f + float(random.below(1000)) / 1000.0f);
    d.scale.push_back(scale);
    const std::vector<float> more = values(c.tokens * p.out);
    d.residual.insert(d.residual.end(), more.begin(), more.end());
  }
  return d;
}

// Results of all projections, one after another, with what their bounds are made of.
struct Expected {
  std::vector<double> value, terms;  // terms: the sum of absolute values
};

// The CPU's mask.
double factor(const Case& c, const Data& d, size_t p, int64_t t, int64_t k) {
  if (!(c.dropout > 0)) return 1.0;
  const uint32_t word =
      dropout_word(kDropoutSeed, kStep, kMaskStream + uint32_t(p), d.order[size_t(t)], k);
  return word >= dropout_threshold(c.dropout) ? double(1.0f / (1.0f - c.dropout)) : 0.0;
}

double scale_of(const Case& c, const Data& d, size_t p, int64_t n) {
  return c.projections[p].dora ? double(d.scale[p][size_t(n)]) : 1.0;
}

Expected expected_forward(const Case& c, const Data& d) {
  Expected e;
  for (size_t p = 0; p < c.projections.size(); ++p) {
    const Shape& s = c.projections[p];
    for (int64_t t = 0; t < c.tokens; ++t)
      for (int64_t n = 0; n < s.out; ++n) {
        double sum = 0, terms = 0;
        const auto add = [&](double term) { sum += term, terms += std::fabs(term); };
        const double scale = scale_of(c, d, p, n);
        for (int64_t k = 0; k < c.in; ++k) {
          const double term =
              double(d.x[size_t(t * c.in + k)]) * double(d.w[p][size_t(n * c.in + k)]);
          add(c.dropout > 0 ? term : scale * term);
          if (s.dora && c.dropout > 0) add((scale - 1) * factor(c, d, p, t, k) * term);
        }
        for (int64_t j = 0; j < s.rank; ++j)
          add(scale * double(d.h[p][size_t(t * s.rank + j)]) *
              double(d.b[p][size_t(n * s.rank + j)]));
        if (s.bias) add(double(d.bias[p][size_t(n)]));
        if (c.residual) add(double(d.residual[e.value.size()]));
        e.value.push_back(sum), e.terms.push_back(terms);
      }
  }
  return e;
}

// `scaled`: of the terms whose dy is rounded after it was multiplied with DoRA's scale.
Expected expected_backward(const Case& c, const Data& d, std::vector<double>& scaled) {
  Expected e;
  for (int64_t t = 0; t < c.tokens; ++t)
    for (int64_t k = 0; k < c.in; ++k) {
      double sum = 0, terms = 0, rounded_terms = 0;
      const auto add = [&](double term) { sum += term, terms += std::fabs(term); };
      for (size_t p = 0; p < c.projections.size(); ++p) {
        const Shape& s = c.projections[p];
        const double mask = factor(c, d, p, t, k);
        for (int64_t n = 0; n < s.out; ++n) {
          const double term =
              double(d.dy[p][size_t(t * s.out + n)]) * double(d.w[p][size_t(n * c.in + k)]);
          const double scale = scale_of(c, d, p, n);
          const double with_scale = (c.dropout > 0 ? mask * (scale - 1) : scale) * term;
          if (s.dora) rounded_terms += std::fabs(with_scale);
          if (c.dropout > 0) add(term);
          add(with_scale);
        }
        for (int64_t j = 0; j < s.rank; ++j)
          add(mask * double(d.g[p][size_t(t * s.rank + j)]) * double(d.a[p][size_t(j * c.in + k)]));
      }
      if (c.residual) add(double(d.x[size_t(t * c.in + k)]));
      e.value.push_back(sum), e.terms.push_back(terms), scaled.push_back(rounded_terms);
    }
  return e;
}

// The pitch of a weight or adapter: 0 is Rows' own choice, of whole chunks.
int64_t pitch_of(const Case& c, int64_t width) { return c.packs || width == 0 ? 0 : width; }

template <class T>
using Matrices = std::vector<std::unique_ptr<Rows<T>>>;

template <class T>
Rows<T>& keep(Matrices<T>& matrices, int64_t rows, int64_t width, const std::vector<float>& values,
              int64_t pitch) {
  matrices.push_back(std::make_unique<Rows<T>>(rows, width, values, pitch));
  return *matrices.back();
}

simt::Memory<float>& keep(std::vector<std::unique_ptr<simt::Memory<float>>>& memories,
                          const std::vector<float>& values) {
  memories.push_back(std::make_unique<simt::Memory<float>>(values.size()));
  return fill(*memories.back(), values);
}

template <class T>
std::vector<float> forward(T, const Case& c, const Data& d, const Machine& machine,
                           uint64_t seed = 1) {
  simt::Stream stream(seed);
  const int64_t unit = c.packs ? 8 : 2;
  int64_t width = 0, tail = up(c.in, unit);
  std::vector<std::pair<int64_t, int64_t>> written;
  GemmForward<T> op;
  op.tokens = c.tokens, op.in = c.in, op.projections = int32_t(c.projections.size());
  std::vector<int64_t> tails;
  for (const Shape& s : c.projections) {
    written.push_back({width, width + s.out});
    width = up(width + s.out, unit);
    tails.push_back(tail);
    tail = up(tail + s.rank, unit);
  }
  Rows<T> x(c.tokens, tail), y(c.tokens, width), residual(c.tokens, width);
  x.write(0, c.in, d.x);
  Matrices<T> matrices;
  std::vector<std::unique_ptr<simt::Memory<float>>> floats;
  size_t done = 0;
  for (size_t p = 0; p < c.projections.size(); ++p) {
    const Shape& s = c.projections[p];
    auto& o = op.projection[p];
    o.out = s.out, o.column = written[p].first, o.rank = s.rank;
    Rows<T>& w = keep(matrices, s.out, c.in, d.w[p], pitch_of(c, c.in));
    o.weight = w.data(), o.weight_pitch = w.pitch();
    if (s.rank > 0) {
      x.write(tails[p], s.rank, d.h[p]);
      Rows<T>& b = keep(matrices, s.out, s.rank, d.b[p], pitch_of(c, s.rank));
      o.h = x.data() + tails[p], o.lora_B = b.data(), o.lora_B_pitch = b.pitch();
    }
    if (s.dora) o.row_scale = keep(floats, d.scale[p]).data();
    o.dropout = make_dropout(c.dropout, kDropoutSeed, kStep, kMaskStream + uint32_t(p));
    if (s.bias) o.bias = keep(floats, d.bias[p]).data();
    const auto first = d.residual.begin() + ptrdiff_t(done);
    done += size_t(c.tokens * s.out);
    residual.write(o.column, s.out, {first, d.residual.begin() + ptrdiff_t(done)});
  }
  op.x = x.data(), op.x_pitch = x.pitch(), op.y = y.data(), op.y_pitch = y.pitch();
  if (c.residual) op.residual = residual.data(), op.residual_pitch = residual.pitch();
  simt::Memory<int32_t> order(d.order.size());
  std::copy(d.order.begin(), d.order.end(), order.begin());
  if (c.dropout > 0) op.order = order.data();
  op.workspace_floats = gemm_workspace(machine, op);
  simt::Memory<float> workspace(size_t(op.workspace_floats));
  op.workspace = workspace.data();
  EXPECT_RUNS(gemm_forward(&stream, machine, op));
  EXPECT(y.untouched_outside(written));
  std::vector<float> values;
  for (const auto& [first, last] : written) {
    const std::vector<float> part = y.read(first, last - first);
    values.insert(values.end(), part.begin(), part.end());
  }
  return values;
}

template <class T>
std::vector<float> backward(T, const Case& c, const Data& d, const Machine& machine,
                            uint64_t seed = 1) {
  simt::Stream stream(seed);
  const int64_t unit = c.packs ? 8 : 2;
  GemmBackward<T> op;
  op.tokens = c.tokens, op.in = c.in, op.projections = int32_t(c.projections.size());
  int64_t width = 0;
  for (size_t p = 0; p < c.projections.size(); ++p) {
    op.projection[p].column = width;
    width = up(width + c.projections[p].out, unit);
  }
  std::vector<int64_t> tails;
  for (const Shape& s : c.projections) {
    tails.push_back(width);
    width = up(width + s.rank, unit);
  }
  Rows<T> dy(c.tokens, width), dx(c.tokens, c.in, c.residual ? d.x : std::vector<float>());
  Matrices<T> matrices;
  std::vector<std::unique_ptr<simt::Memory<float>>> floats;
  for (size_t p = 0; p < c.projections.size(); ++p) {
    const Shape& s = c.projections[p];
    auto& o = op.projection[p];
    o.out = s.out, o.rank = s.rank;
    dy.write(o.column, s.out, d.dy[p]);
    Rows<T>& w = keep(matrices, s.out, c.in, d.w[p], pitch_of(c, c.in));
    o.weight = w.data(), o.weight_pitch = w.pitch();
    if (s.rank > 0) {
      dy.write(tails[p], s.rank, d.g[p]);
      Rows<T>& a = keep(matrices, s.rank, c.in, d.a[p], pitch_of(c, c.in));
      o.g = dy.data() + tails[p], o.lora_A = a.data(), o.lora_A_pitch = a.pitch();
    }
    if (s.dora) o.row_scale = keep(floats, d.scale[p]).data();
    o.dropout = make_dropout(c.dropout, kDropoutSeed, kStep, kMaskStream + uint32_t(p));
  }
  op.dy = dy.data(), op.dy_pitch = dy.pitch(), op.dx = dx.data(), op.dx_pitch = dx.pitch();
  op.accumulate = c.residual;
  simt::Memory<int32_t> order(d.order.size());
  std::copy(d.order.begin(), d.order.end(), order.begin());
  if (c.dropout > 0) op.order = order.data();
  op.workspace_floats = gemm_workspace(machine, op);
  simt::Memory<float> workspace(size_t(op.workspace_floats));
  op.workspace = workspace.data();
  EXPECT_RUNS(gemm_backward(&stream, machine, op));
  EXPECT(dx.padding_survives());
  return dx.values();
}

int64_t terms_of(const Case& c) {
  int64_t terms = c.in;
  for (const Shape& s : c.projections) terms += s.out + s.rank;
  return 2 * terms + 6;  // DoRA's with dropout count twice; scales, bias, residual, slices
}

// Sizes on both sides of tiles of 64, 128 and 256 and of chunks of 8, ranks of all kinds.
std::vector<Case> cases() {
  return {
      {1, 1, {{1, 1}}},
      {1, 7, {{5, 2, true, true}, {1, 0}}, true, false},
      {3, 33, {{9, 8}}, true},
      {65, 97, {{97, 33}, {12, 5, true}}, true, false},
      {66, 97, {{97, 33, true}, {12, 5, false, true}}},
      {130, 72, {{129, 8}, {64, 16, false, true}, {3, 0, true}}, true},
      {64, 128, {{128, 64}, {128, 8}, {128, 100}, {1, 1}}},
      {17, 640, {{72, 20, true, true}, {31, 0}}, true},
      {129, 40, {{258, 256}}},
      {1, 3, {{2, 1, true}}, true, false, 0.5f},
      {70, 45, {{9, 3, false, true}, {70, 16, true, true}, {3, 0, true}}, true, false, 0.5f},
      {135, 72, {{130, 12}, {66, 8, true}, {8, 0}}, false, true, 0.5f},
      {33, 520, {{20, 40, true}, {300, 8}}, true, true, 0.5f},
  };
}

template <class Body>
void for_each_case(const Body& body) {
  on_both_types([&](auto t) {
    for (const Machine& machine : kMachines)
      for (const Case& c : cases())
        if (sizeof(t) == 2 || machine.shared_limit <= kBaseTiles.shared_limit) body(t, machine, c);
  });
}

}  // namespace

TEST(forwardOfSmallIntegersIsExact) {
  for_each_case([](auto t, const Machine& machine, const Case& c) {
    const Data d = make_data(t, c, true);
    EXPECT_WITHIN(forward(t, c, d, machine), stored(t, expected_forward(c, d).value), kExact);
  });
}

TEST(backwardOfSmallIntegersIsExact) {
  for_each_case([](auto t, const Machine& machine, const Case& c) {
    const Data d = make_data(t, c, true);
    std::vector<double> scaled;
    const Expected e = expected_backward(c, d, scaled);
    EXPECT_WITHIN(backward(t, c, d, machine), stored(t, e.value), kExact);
  });
}

TEST(resultsAreWithinTheBoundsOfDoubleLoops) {
  for_each_case([](auto t, const Machine& machine, const Case& sample) {
    using T = decltype(t);
    Case c = sample;
    if (c.dropout > 0) c.dropout = 0.1f;  // whose 1 / (1 - p) is not exact
    const Data d = make_data(t, c, false);
    const double unit = double(terms_of(c)) * kFloatHalf;
    const Expected y = expected_forward(c, d);
    const auto y_bound = [&](size_t i) {
      return unit * y.terms[i] + rounding<T>(std::fabs(y.value[i]) + unit * y.terms[i]);
    };
    EXPECT_WITHIN(forward(t, c, d, machine), y.value, y_bound);
    std::vector<double> scaled;
    const Expected dx = expected_backward(c, d, scaled);
    const auto dx_bound = [&](size_t i) {
      const double sums = unit * dx.terms[i] + rounding<T>(scaled[i]);
      return sums + rounding<T>(std::fabs(dx.value[i]) + sums);
    };
    EXPECT_WITHIN(backward(t, c, d, machine), dx.value, dx_bound);
  });
}

TEST(everyOrderOfWarpsAndBlocksGivesTheSameBits) {
  for_each_case([](auto t, const Machine& machine, const Case& c) {
    if (c.tokens > 70) return;
    const Data d = make_data(t, c, false);
    EXPECT_SAME_BITS(forward(t, c, d, machine, 3), forward(t, c, d, machine, 4));
    EXPECT_SAME_BITS(backward(t, c, d, machine, 3), backward(t, c, d, machine, 4));
  });
}

TEST(zeroLoraBLeavesTheOutputAsItIs) {
  on_both_types([](auto t) {
    Case c = {5, 70, {{33, 12, false, true}}};
    Data d = make_data(t, c, false);
    std::fill(d.b[0].begin(), d.b[0].end(), 0.0f);
    const std::vector<float> with = forward(t, c, d, kBaseTiles);
    c.projections[0].rank = 0;
    EXPECT_SAME_BITS(with, forward(t, c, d, kBaseTiles));
  });
}

TEST(noTokensAreNothing) {
  simt::Stream stream;
  GemmForward<bf16> op;
  op.in = 8, op.projections = 1;
  op.projection[0].out = 8;
  EXPECT_RUNS(gemm_forward(&stream, kBaseTiles, op));
  EXPECT(gemm_workspace(kSlices, op) == 0);
}

TEST(aWorkspaceThatIsTooSmallIsRefused) {
  simt::Stream stream;
  Rows<float> x(1, 640), w(1, 640), y(1, 1);
  GemmForward<float> op;
  op.tokens = 1, op.in = 640, op.projections = 1;
  op.projection[0].out = 1;
  op.projection[0].weight = w.data(), op.projection[0].weight_pitch = w.pitch();
  op.x = x.data(), op.x_pitch = x.pitch(), op.y = y.data(), op.y_pitch = y.pitch();
  EXPECT(gemm_workspace(kSlices, op) > 0);
  EXPECT(std::string(gemm_forward(&stream, kSlices, op)) != "");
}
