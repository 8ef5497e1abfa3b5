#include "linear_case.h"

#include <sstream>

#include "cpu/panel.h"
#include "cpu/philox.h"

namespace rora::testing {
namespace {

constexpr double kFloat = 1.0 / (1 << 24);  // unit roundoff of float
constexpr double kBf16 = 1.0 / (1 << 8);    // and of bf16
constexpr double kTiny = 1e-30;             // products of subnormals may be flushed

size_t at(int64_t row, int64_t columns, int64_t column) { return size_t(row * columns + column); }

std::vector<float> numbers(Random& random, int64_t count, bool integers, float deviation) {
  return integers ? random.integers(count, 2) : random.normal(count, deviation);
}

ProjectionData make_projection(Random& random, const LinearShape& shape,
                               const ProjectionShape& projection) {
  ProjectionData data;
  data.shape = projection;
  data.w =
      rounded(numbers(random, projection.out * shape.in, shape.integers, 0.3f), shape.weight_dtype);
  if (projection.bias) data.bias = numbers(random, projection.out, shape.integers, 1.0f);
  data.a = numbers(random, projection.rank * shape.in, shape.integers, 0.3f);
  data.b = numbers(random, projection.rank * projection.out, shape.integers, 0.3f);
  data.scaling = shape.integers ? 0.5f : 1.7f;
  if (projection.dora) {
    data.magnitude = random.normal(projection.out, 1.0f);
    for (float& m : data.magnitude) m += 2.0f;
  }
  return data;
}

// Everything that the C API needs for one group.
struct Group {
  std::vector<WeightHandle> weights;
  std::vector<AdapterHandle> adapters;
  std::vector<std::unique_ptr<Floats>> floats;
  LinearHandle linear;

  float* keep(rora_context* context, const std::vector<float>& values) {
    if (values.empty()) return nullptr;
    floats.push_back(std::make_unique<Floats>(context, values));
    return floats.back()->get();
  }
  float* gradient(rora_context* context, size_t count) {
    std::vector<float> start(count);
    for (size_t i = 0; i < count; ++i) start[i] = gradient_start(i);
    return keep(context, start);
  }
};

struct Gradients {
  float *da = nullptr, *db = nullptr, *dm = nullptr, *dw = nullptr, *dbias = nullptr;
};

Gradients add_projection(Group& group, rora_context* context, const LinearData& data, size_t i,
                         ProjectionResult& result) {
  const ProjectionData& p = data.projections[i];
  const LinearShape& shape = data.shape;
  Gradients gradients;
  group.weights.push_back(make_weight(context, shape.weight_dtype, p.shape.out, shape.in, p.w));
  rora_weight* weight = group.weights.back().get();
  if (shape.trained_weights) {
    gradients.dw = group.gradient(context, p.w.size());
    EXPECT_OK(rora_weight_train(weight, group.keep(context, p.w), gradients.dw));
  }
  const float* bias = group.keep(context, p.bias);
  gradients.dbias = group.gradient(context, p.bias.size());
  EXPECT_OK(rora_linear_set_weight(group.linear.get(), int32_t(i), weight, bias, gradients.dbias));
  if (p.shape.rank == 0) return gradients;
  gradients.da = group.gradient(context, p.a.size());
  gradients.db = group.gradient(context, p.b.size());
  gradients.dm = group.gradient(context, p.magnitude.size());
  rora_adapter* adapter = nullptr;
  EXPECT_OK(rora_adapter_create(context, p.shape.out, shape.in, p.shape.rank, p.scaling,
                                group.keep(context, p.a), group.keep(context, p.b),
                                group.keep(context, p.magnitude), gradients.da, gradients.db,
                                gradients.dm, &adapter));
  group.adapters.emplace_back(adapter);
  EXPECT_OK(rora_adapter_refresh(adapter, weight));
  if (shape.train_rank > 0) EXPECT_OK(rora_adapter_train_rank(adapter, shape.train_rank));
  if (p.shape.dora) {
    result.norms.resize(size_t(p.shape.out));
    EXPECT_OK(rora_adapter_norms(adapter, result.norms.data()));
    std::vector<float> scale = p.fixed_norms;
    for (size_t n = 0; n < scale.size(); ++n) scale[n] = p.magnitude[n] / scale[n];
    if (!scale.empty())
      EXPECT_OK(rora_upload(context, adapter->row_scale, scale.data(), p.shape.out * 4));
  }
  EXPECT_OK(rora_linear_set_adapter(group.linear.get(), int32_t(i), adapter));
  return gradients;
}

void write_columns(const LinearData& data, const Group& group, const std::vector<float>& source,
                   rora_activation* target) {
  const float* block = source.data();
  for (size_t i = 0; i < data.projections.size(); ++i) {
    const int64_t out = data.projections[i].shape.out;
    EXPECT_OK(rora_activation_write(target, rora_linear_column(group.linear.get(), int32_t(i)), out,
                                    block, out));
    block += data.shape.tokens * out;
  }
}

// Only panels have lanes without a token.
int64_t lanes_end(const rora_activation& a) {
  return a.context->device->on_host ? panels(a.tokens) * kPanel : a.tokens;
}

void fill_unused_lanes(rora_activation& a, float value) {
  for (int64_t t = a.tokens; t < lanes_end(a); ++t)
    for (int64_t row = 0; row < a.rows; ++row) set(a, t, row, value);
}

bool zero_in_unused_lanes(const rora_activation& a, int64_t rows) {
  for (int64_t t = a.tokens; t < lanes_end(a); ++t)
    for (int64_t row = 0; row < rows; ++row)
      if (get(a, t, row) != 0.0f) return false;
  return true;
}

std::vector<float> copied(rora_context* context, const float* data, size_t count) {
  std::vector<float> values(data ? count : 0);
  if (data) EXPECT_OK(rora_download(context, values.data(), data, int64_t(count) * 4));
  return values;
}

// The plain loops. Errors of stored low-rank products travel on into what reads them.
struct Loops {
  const LinearData& data;
  const LinearShape& shape;
  double exact;    // 0 on integers, else 1: every bound is multiplied by it
  double operand;  // rounding of a float operand beside bf16 activations; doubled like all of bf16
  double weight;   // likewise of the base weight
  double stored;   // rounding of a stored result, on both sides

  explicit Loops(const LinearData& linear_data) : data(linear_data), shape(linear_data.shape) {
    const bool narrow = shape.dtype == RORA_BF16;
    exact = shape.integers ? 0.0 : 1.0;
    operand = narrow ? 2 * kBf16 : 0.0;
    weight = narrow && shape.weight_dtype == RORA_F32 ? 2 * kBf16 : 0.0;
    stored = 2 * (narrow ? kBf16 : kFloat);
  }

  bool drops() const { return shape.dropout > 0; }
  double x(int64_t t, int64_t k) const { return double(data.x[at(t, shape.in, k)]); }
  double mask(size_t i, int64_t t, int64_t k) const {
    if (!drops()) return 1.0;
    const uint32_t word =
        dropout_word(data.seed, data.step, data.stream + uint32_t(i), data.order[size_t(t)], k);
    return word < dropout_threshold(shape.dropout) ? 0.0 : double(1.0f / (1.0f - shape.dropout));
  }
  double scale(size_t i, int64_t n, const LinearResult& found) const {
    const ProjectionData& p = data.projections[i];
    return p.shape.dora ? double(p.magnitude[size_t(n)] / found.projections[i].norms[size_t(n)])
                        : 1;
  }
  void put(Bounded& to, double value, double bound) const {
    to.value.push_back(value);
    to.bound.push_back(exact * (bound + kTiny));
  }
  // Rounded as it is stored in an activation.
  void put_stored(Bounded& to, double value, double bound) const {
    const double kept =
        shape.dtype == RORA_BF16 ? double(rounded_to_bf16(float(value))) : double(float(value));
    put(to, kept, bound + stored * std::fabs(value));
  }
};

// A sum of products with the sum of their absolute values.
struct Sum {
  double value = 0, size = 0;
  void add(double product) {
    value += product;
    size += std::fabs(product);
  }
};

void low_rank_input(const Loops& loops, size_t i, ProjectionExpected& e) {
  const ProjectionData& p = loops.data.projections[i];
  const int64_t in = loops.shape.in;
  const double dropped = loops.drops() ? loops.operand : 0.0, s = double(p.scaling);
  for (int64_t t = 0; t < loops.shape.tokens; ++t)
    for (int64_t j = 0; j < p.shape.rank; ++j) {
      Sum sum;
      for (int64_t k = 0; k < in; ++k)
        sum.add(loops.x(t, k) * loops.mask(i, t, k) * double(p.a[at(j, in, k)]));
      const double terms = double(in + 4) * kFloat + loops.operand + dropped;
      loops.put_stored(e.h, s * sum.value, std::fabs(s) * sum.size * terms);
    }
}

void output(const Loops& loops, size_t i, size_t first, const LinearResult& found,
            ProjectionExpected& e) {
  const ProjectionData& p = loops.data.projections[i];
  const int64_t in = loops.shape.in, out = p.shape.out, rank = p.shape.rank;
  const bool twice = p.shape.dora && loops.drops();
  for (int64_t t = 0; t < loops.shape.tokens; ++t)
    for (int64_t n = 0; n < out; ++n) {
      Sum base, dropped, low;
      double low_error = 0;
      for (int64_t k = 0; k < in; ++k) {
        const double product = loops.x(t, k) * double(p.w[at(n, in, k)]);
        base.add(product);
        if (twice) dropped.add(product * loops.mask(i, t, k));
      }
      for (int64_t j = 0; j < rank; ++j) {
        const double b = double(p.b[at(n, rank, j)]);
        low.add(e.h.value[at(t, rank, j)] * b);
        low_error += e.h.bound[at(t, rank, j)] * std::fabs(b);
      }
      const double s = loops.scale(i, n, found);
      const double bias = p.bias.empty() ? 0.0 : double(p.bias[size_t(n)]);
      const double residual =
          loops.shape.residual ? double(loops.data.residual[first + at(t, out, n)]) : 0.0;
      const double terms = double(in + rank + 6) * kFloat;
      const double constant = bias + residual,
                   constant_size = std::fabs(bias) + std::fabs(residual);
      double value = s * (base.value + low.value) + constant;
      double bound = std::fabs(s) * (base.size * (terms + loops.weight) +
                                     low.size * (terms + loops.operand) + low_error) +
                     constant_size * 4 * kFloat;
      if (twice) {
        value = base.value + (s - 1) * dropped.value + s * low.value + constant;
        bound += base.size * (terms + loops.weight) +
                 std::fabs(s - 1) * dropped.size * (2 * terms + 2 * loops.operand) +
                 loops.stored * (std::fabs(base.value) + constant_size);  // stored in between
      }
      loops.put_stored(e.y, value, bound);
    }
}

void low_rank_gradient(const Loops& loops, size_t i, size_t first, const LinearResult& found,
                       ProjectionExpected& e) {
  const ProjectionData& p = loops.data.projections[i];
  const int64_t out = p.shape.out, rank = p.shape.rank;
  for (int64_t t = 0; t < loops.shape.tokens; ++t)
    for (int64_t j = 0; j < rank; ++j) {
      Sum sum;
      for (int64_t n = 0; n < out; ++n)
        sum.add(loops.scale(i, n, found) * double(loops.data.dy[first + at(t, out, n)]) *
                double(p.b[at(n, rank, j)]));
      const double s = double(p.scaling);
      loops.put_stored(e.g, s * sum.value,
                       std::fabs(s) * sum.size * (double(out + 6) * kFloat + loops.operand));
    }
}

// A gradient: what it held, plus a sum with its bound.
void put_gradient(const Loops& loops, Bounded& to, double value, double bound) {
  const double start = double(gradient_start(to.value.size()));
  loops.put(to, start + value, bound + 4 * kFloat * (std::fabs(start) + std::fabs(value)));
}

void adapter_gradients(const Loops& loops, size_t i, size_t first, const LinearResult& found,
                       ProjectionExpected& e) {
  const ProjectionData& p = loops.data.projections[i];
  const int64_t in = loops.shape.in, out = p.shape.out, rank = p.shape.rank;
  const int64_t tokens = loops.shape.tokens;
  const int64_t trained = loops.shape.train_rank > 0 ? loops.shape.train_rank : rank;
  const double terms = double(tokens + 6) * kFloat;
  for (int64_t j = 0; j < rank; ++j)
    for (int64_t k = 0; k < in; ++k) {
      Sum sum;
      double error = 0;
      for (int64_t t = 0; t < tokens && j < trained; ++t) {
        const double x = loops.x(t, k) * loops.mask(i, t, k);
        sum.add(e.g.value[at(t, rank, j)] * x);
        error += e.g.bound[at(t, rank, j)] * std::fabs(x);
      }
      put_gradient(loops, e.da, sum.value, sum.size * terms + error);
    }
  for (int64_t n = 0; n < out; ++n)
    for (int64_t j = 0; j < rank; ++j) {
      Sum sum;
      double error = 0;
      for (int64_t t = 0; t < tokens && j < trained; ++t) {
        const double dy = loops.scale(i, n, found) * double(loops.data.dy[first + at(t, out, n)]);
        sum.add(dy * e.h.value[at(t, rank, j)]);
        error += e.h.bound[at(t, rank, j)] * std::fabs(dy);
      }
      put_gradient(loops, e.db, sum.value, sum.size * terms + error);
    }
}

void magnitude_gradient(const Loops& loops, size_t i, size_t first, const LinearResult& found,
                        ProjectionExpected& e) {
  const ProjectionData& p = loops.data.projections[i];
  const int64_t in = loops.shape.in, out = p.shape.out, rank = p.shape.rank;
  const int64_t tokens = loops.shape.tokens;
  const double terms = double(tokens + in + rank + 6) * kFloat;
  const double dropped = loops.drops() ? loops.operand : 0.0;
  for (int64_t n = 0; n < out && p.shape.dora; ++n) {
    Sum sum;
    double error = 0;
    for (int64_t t = 0; t < tokens; ++t) {
      const double dy = double(loops.data.dy[first + at(t, out, n)]);
      for (int64_t k = 0; k < in; ++k)
        sum.add(dy * loops.x(t, k) * loops.mask(i, t, k) * double(p.w[at(n, in, k)]));
      for (int64_t j = 0; j < rank; ++j) {
        const double b = double(p.b[at(n, rank, j)]);
        sum.add(dy * e.h.value[at(t, rank, j)] * b);
        error += std::fabs(dy * b) * e.h.bound[at(t, rank, j)];
      }
    }
    const double norm = double(found.projections[i].norms[size_t(n)]);
    put_gradient(loops, e.dm, sum.value / norm,
                 (sum.size * (terms + loops.operand + loops.weight + dropped) + error) / norm);
  }
}

void base_gradients(const Loops& loops, size_t i, size_t first, ProjectionExpected& e) {
  const ProjectionData& p = loops.data.projections[i];
  const int64_t in = loops.shape.in, out = p.shape.out, tokens = loops.shape.tokens;
  const double terms = double(tokens + 4) * kFloat;
  for (int64_t n = 0; n < out; ++n) {
    for (int64_t k = 0; k < in && loops.shape.trained_weights; ++k) {
      Sum sum;
      for (int64_t t = 0; t < tokens; ++t)
        sum.add(double(loops.data.dy[first + at(t, out, n)]) * loops.x(t, k));
      put_gradient(loops, e.dw, sum.value, sum.size * terms);
    }
    if (p.bias.empty()) continue;
    Sum sum;
    for (int64_t t = 0; t < tokens; ++t) sum.add(double(loops.data.dy[first + at(t, out, n)]));
    put_gradient(loops, e.dbias, sum.value, sum.size * terms);
  }
}

// What projection i adds to dX[t, k], with its bound and the size of what may be stored in between.
void add_input_gradient(const Loops& loops, size_t i, size_t first, int64_t t, int64_t k,
                        const LinearResult& found, const ProjectionExpected& e, Sum& total,
                        double& bound) {
  const ProjectionData& p = loops.data.projections[i];
  const int64_t in = loops.shape.in, out = p.shape.out, rank = p.shape.rank;
  const double mask = loops.mask(i, t, k), terms = double(out + rank + 8) * kFloat;
  for (int64_t n = 0; n < out; ++n) {
    const double product = double(loops.data.dy[first + at(t, out, n)]) * double(p.w[at(n, in, k)]);
    const double s = loops.scale(i, n, found);
    const double scaled = loops.drops() ? (s - 1) * mask * product : s * product;
    const double rounding = p.shape.dora ? loops.operand : loops.weight;
    if (loops.drops()) {
      total.add(product);
      bound += std::fabs(product) * (terms + loops.weight);
    }
    total.add(scaled);
    bound += std::fabs(scaled) * (2 * terms + rounding) + std::fabs(mask * product) * 2 * kFloat;
  }
  for (int64_t j = 0; j < rank; ++j) {
    const double a = double(p.a[at(j, in, k)]) * mask;
    total.add(e.g.value[at(t, rank, j)] * a);
    bound += std::fabs(a) * (e.g.bound[at(t, rank, j)] +
                             std::fabs(e.g.value[at(t, rank, j)]) * (terms + loops.operand));
  }
}

void input_gradient(const Loops& loops, const LinearResult& found, LinearExpected& e) {
  const size_t count = e.projections.size();
  for (int64_t t = 0; t < loops.shape.tokens; ++t)
    for (int64_t k = 0; k < loops.shape.in; ++k) {
      Sum total;
      double bound = 0;
      if (loops.shape.accumulate) total.add(double(loops.data.old_dx[at(t, loops.shape.in, k)]));
      size_t first = 0;
      for (size_t i = 0; i < count; ++i) {
        add_input_gradient(loops, i, first, t, k, found, e.projections[i], total, bound);
        first += size_t(loops.shape.tokens * loops.data.projections[i].shape.out);
      }
      // Projections join one sum after the other; with dropout each is stored in between.
      bound += total.size * double(count + 1) * kFloat;
      if (loops.drops()) bound += total.size * double(count) * loops.stored;
      loops.put_stored(e.dx, total.value, bound);
    }
}

void compare(const std::string& what, const std::vector<float>& found, const Bounded& expected) {
  expect_within(__FILE__, __LINE__, what.c_str(), found, expected.value,
                [&](size_t i) { return expected.bound[i]; });
}

}  // namespace

std::string LinearShape::name() const {
  std::ostringstream text;
  text << "tokens " << tokens << ", in " << in << ", out/rank";
  for (const ProjectionShape& p : projections)
    text << ' ' << p.out << '/' << p.rank << (p.dora ? "d" : "") << (p.bias ? "b" : "");
  text << (dtype == RORA_F32 ? ", f32" : ", bf16");
  text << (weight_dtype == RORA_F32 ? " on f32" : " on bf16");
  if (integers) text << ", integers";
  if (dropout > 0) text << ", dropout " << dropout;
  if (residual) text << ", residual";
  if (accumulate) text << ", accumulate";
  if (trained_weights) text << ", trained weights";
  if (train_rank) text << ", train_rank " << train_rank;
  return text.str();
}

LinearData::LinearData(const LinearShape& linear_shape, uint64_t random_seed)
    : shape(linear_shape) {
  Random random(random_seed);
  int64_t outputs = 0;
  for (const ProjectionShape& p : shape.projections) {
    projections.push_back(make_projection(random, shape, p));
    outputs += shape.tokens * p.out;
  }
  const auto activations = [&](int64_t count) {
    return rounded(numbers(random, count, shape.integers, 1.0f), shape.dtype);
  };
  x = activations(shape.tokens * shape.in);
  residual = activations(outputs);
  dy = activations(outputs);
  old_dx = activations(shape.tokens * shape.in);
  for (int64_t t = 0; t < shape.tokens; ++t) order.push_back(int32_t(3 * t + 5));
}

float gradient_start(size_t i) { return float(i % 5) - 2.0f; }

LinearResult run_linear(const LinearData& data, const std::string& level, int threads) {
  const LinearShape& shape = data.shape;
  Context context(level, threads);
  Group group;
  rora_linear* linear = nullptr;
  EXPECT_OK(rora_linear_create(context, int32_t(shape.projections.size()), &linear));
  group.linear.reset(linear);
  LinearResult result;
  result.projections.resize(shape.projections.size());
  std::vector<Gradients> gradients;
  for (size_t i = 0; i < shape.projections.size(); ++i)
    gradients.push_back(add_projection(group, context, data, i, result.projections[i]));
  EXPECT_OK(rora_linear_set_dropout(linear, shape.dropout, data.seed, data.step, data.stream));

  const int64_t width = rora_linear_column(linear, int32_t(shape.projections.size()));
  const int64_t tail = rora_linear_tail(linear);
  const BatchHandle batch = make_batch(context, shape.tokens, data.order);
  const auto x = make_activation(context, shape.dtype, shape.tokens, shape.in, tail);
  const auto y = make_activation(context, shape.dtype, shape.tokens, width);
  const auto dy = make_activation(context, shape.dtype, shape.tokens, width, tail);
  const auto dx = make_activation(context, shape.dtype, shape.tokens, shape.in);
  EXPECT_OK(rora_activation_write(x.get(), 0, shape.in, data.x.data(), shape.in));
  fill_unused_lanes(*x, std::nanf(""));  // as a step that was not finite may leave them
  if (shape.residual) write_columns(data, group, data.residual, y.get());
  EXPECT_OK(rora_linear_forward(linear, batch.get(), x.get(), shape.residual ? y.get() : nullptr,
                                y.get()));
  write_columns(data, group, data.dy, dy.get());
  EXPECT_OK(rora_activation_write(dx.get(), 0, shape.in, data.old_dx.data(), shape.in));
  EXPECT_OK(
      rora_linear_backward(linear, batch.get(), x.get(), dy.get(), shape.accumulate, dx.get()));
  EXPECT(zero_in_unused_lanes(*dx, even(shape.in)));
  EXPECT(zero_in_unused_lanes(*dy, dy->rows));

  result.dx.resize(data.x.size());
  EXPECT_OK(
      rora_activation_read(dx.get(), 0, shape.tokens, 0, shape.in, result.dx.data(), shape.in));
  std::vector<int64_t> before;
  for (size_t i = 0; i < shape.projections.size(); ++i) {
    const ProjectionData& p = data.projections[i];
    ProjectionResult& r = result.projections[i];
    r.y.resize(size_t(shape.tokens * p.shape.out));
    EXPECT_OK(rora_activation_read(y.get(), 0, shape.tokens, rora_linear_column(linear, int32_t(i)),
                                   p.shape.out, r.y.data(), p.shape.out));
    r.h = tail_values(*x, before, p.shape.rank);
    r.g = tail_values(*dy, before, p.shape.rank);
    if (p.shape.rank > 0) before.push_back(p.shape.rank);
    r.da = copied(context, gradients[i].da, p.a.size());
    r.db = copied(context, gradients[i].db, p.b.size());
    r.dm = copied(context, gradients[i].dm, p.magnitude.size());
    r.dw = copied(context, gradients[i].dw, p.w.size());
    r.dbias = copied(context, gradients[i].dbias, p.bias.size());
  }
  return result;
}

LinearExpected expected_linear(const LinearData& data, const LinearResult& found) {
  const Loops loops(data);
  LinearExpected e;
  e.projections.resize(data.projections.size());
  size_t first = 0;
  for (size_t i = 0; i < data.projections.size(); ++i) {
    ProjectionExpected& p = e.projections[i];
    low_rank_input(loops, i, p);
    output(loops, i, first, found, p);
    low_rank_gradient(loops, i, first, found, p);
    adapter_gradients(loops, i, first, found, p);
    magnitude_gradient(loops, i, first, found, p);
    base_gradients(loops, i, first, p);
    first += size_t(data.shape.tokens * data.projections[i].shape.out);
  }
  input_gradient(loops, found, e);
  return e;
}

void check_linear(const LinearShape& shape, const std::string& level, uint64_t seed) {
  const LinearData data(shape, seed);
  const LinearResult found = run_linear(data, level);
  const LinearExpected expected = expected_linear(data, found);
  const std::string where = level + ", seed " + std::to_string(seed) + ", " + shape.name() + ": ";
  for (size_t i = 0; i < data.projections.size(); ++i) {
    const ProjectionResult& f = found.projections[i];
    const ProjectionExpected& e = expected.projections[i];
    const std::string of = where + "projection " + std::to_string(i) + " ";
    compare(of + "h", f.h, e.h);
    compare(of + "y", f.y, e.y);
    compare(of + "g", f.g, e.g);
    compare(of + "dA", f.da, e.da);
    compare(of + "dB", f.db, e.db);
    compare(of + "dm", f.dm, e.dm);
    compare(of + "dW", f.dw, e.dw);
    compare(of + "dbias", f.dbias, e.dbias);
  }
  compare(where + "dx", found.dx, expected.dx);
}

void expect_same_results(const LinearResult& found, const LinearResult& expected,
                         const std::string& where) {
  const auto same = [&](const char* what, const std::vector<float>& a,
                        const std::vector<float>& b) {
    expect_same_bits(__FILE__, __LINE__, (where + ": " + what).c_str(), a, b);
  };
  for (size_t i = 0; i < expected.projections.size(); ++i) {
    const ProjectionResult &f = found.projections[i], &e = expected.projections[i];
    same("norms", f.norms, e.norms);
    same("h", f.h, e.h);
    same("y", f.y, e.y);
    same("g", f.g, e.g);
    same("dA", f.da, e.da);
    same("dB", f.db, e.db);
    same("dm", f.dm, e.dm);
    same("dW", f.dw, e.dw);
    same("dbias", f.dbias, e.dbias);
  }
  same("dx", found.dx, expected.dx);
}

}  // namespace rora::testing
