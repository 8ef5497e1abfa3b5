#include "linear_case.h"

#include "api/objects.h"
#include "cpu/panel.h"

namespace rora::testing {
namespace {

struct Deleter {
  void operator()(rora_weight* p) const { rora_weight_destroy(p); }
  void operator()(rora_activation* p) const { rora_activation_destroy(p); }
  void operator()(rora_batch* p) const { rora_batch_destroy(p); }
  void operator()(rora_adapter* p) const { rora_adapter_destroy(p); }
  void operator()(rora_linear* p) const { rora_linear_destroy(p); }
};
template <class T>
using Handle = std::unique_ptr<T, Deleter>;

int64_t total_out(const LinearSpec& spec) {
  int64_t sum = 0;
  for (const ProjectionSpec& p : spec.projections) sum += even(p.out);
  return sum;
}

// Columns that pad a projection's output to an even width hold zero in the operands.
std::vector<float> output_like(const LinearSpec& spec, const std::vector<float>& dense) {
  std::vector<float> result = dense;
  const int64_t width = total_out(spec);
  for (int64_t t = 0; t < spec.tokens; ++t) {
    int64_t column = 0;
    for (const ProjectionSpec& p : spec.projections) {
      column += even(p.out);
      if (p.out % 2) result[size_t(t * width + column - 1)] = 0.0f;
    }
  }
  return result;
}

template <class Make>
LinearData make_data(const LinearSpec& spec, const Make& make) {
  LinearData data;
  data.x = rounded(make(spec.tokens * spec.in, 1.0f), spec.dtype);
  data.residual = rounded(output_like(spec, make(spec.tokens * total_out(spec), 1.0f)), spec.dtype);
  data.dy = rounded(output_like(spec, make(spec.tokens * total_out(spec), 1.0f)), spec.dtype);
  data.dx = rounded(make(spec.tokens * spec.in, 1.0f), spec.dtype);
  for (const ProjectionSpec& p : spec.projections)
    data.projections.push_back({rounded(make(p.out * spec.in, 0.2f), spec.dtype),
                                make(p.out, 1.0f),
                                make(p.rank * spec.in, 0.3f),
                                make(p.out * p.rank, 0.3f),
                                {}});
  for (int64_t t = 0; t < spec.tokens; ++t) data.order.push_back(int32_t(7 * t + 3));
  return data;
}

Handle<rora_activation> activation(rora_context* context, const LinearSpec& spec, int64_t width,
                                   int64_t tail, const std::vector<float>* values) {
  rora_activation* a = nullptr;
  EXPECT_OK(rora_activation_create(context, spec.dtype, spec.tokens, width, tail, &a));
  EXPECT_OK(rora_activation_resize(a, spec.tokens));
  if (values) EXPECT_OK(rora_activation_write(a, 0, width, values->data(), width));
  return Handle<rora_activation>(a);
}

std::vector<float> read(const rora_activation* a) {
  std::vector<float> values(size_t(a->tokens * a->width));
  EXPECT_OK(rora_activation_read(a, 0, a->tokens, 0, a->width, values.data(), a->width));
  return values;
}

// A projection's objects; the member order is the order of construction.
struct Built {
  Handle<rora_weight> weight;
  Floats master, weight_gradient, bias, bias_gradient, a, b, magnitude, da, db, dm;
  Handle<rora_adapter> adapter;

  Built(rora_context* context, const LinearSpec& spec, const ProjectionSpec& p,
        const LinearData::Projection& data)
      : master(context, p.trained ? data.weight : std::vector<float>(1)),
        weight_gradient(context, p.trained ? p.out * spec.in : 1),
        bias(context, data.bias),
        bias_gradient(context, p.out),
        a(context, data.lora_A),
        b(context, data.lora_B),
        magnitude(context, p.out),
        da(context, p.rank * spec.in),
        db(context, p.rank * p.out),
        dm(context, p.out) {
    rora_weight* w = nullptr;
    EXPECT_OK(rora_weight_create(context, spec.dtype, p.out, spec.in, &w));
    EXPECT_OK(rora_weight_write(w, 0, p.out, RORA_F32, data.weight.data(), spec.in));
    weight.reset(w);
    if (p.trained) EXPECT_OK(rora_weight_train(w, master.get(), weight_gradient.get()));
    if (p.rank == 0) return;
    rora_adapter* made = nullptr;
    EXPECT_OK(rora_adapter_create(context, p.out, spec.in, p.rank, spec.scaling, a.get(), b.get(),
                                  p.dora ? magnitude.get() : nullptr, da.get(), db.get(),
                                  p.dora ? dm.get() : nullptr, &made));
    adapter.reset(made);
    if (p.train_rank) EXPECT_OK(rora_adapter_train_rank(made, p.train_rank));
    if (p.dora) set_magnitudes(p, data);
  }

  void set_magnitudes(const ProjectionSpec& p, const LinearData::Projection& data) {
    for (int64_t n = 0; n < p.out; ++n) magnitude.get()[n] = float(1 + n % 3);
    EXPECT_OK(rora_adapter_refresh(adapter.get(), weight.get()));
    if (data.row_scale.empty()) return;
    for (int64_t n = 0; n < p.out; ++n)
      magnitude.get()[n] = data.row_scale[size_t(n)] * adapter->norms[n];
    EXPECT_OK(rora_adapter_refresh(adapter.get(), weight.get()));
  }

  LinearResult::Projection result(const ProjectionSpec& p) const {
    LinearResult::Projection found;
    if (p.rank) found.dA = da.values(), found.dB = db.values();
    if (p.dora) {
      found.dm = dm.values();
      found.norms.assign(adapter->norms, adapter->norms + p.out);
      found.row_scale.assign(adapter->row_scale, adapter->row_scale + p.out);
    }
    if (p.trained) found.dW = weight_gradient.values(), found.dbias = bias_gradient.values();
    return found;
  }
};

// The low-rank products in x's tail.
std::vector<float> read_tail(const rora_activation* x, int64_t columns) {
  std::vector<float> values;
  for (int64_t t = 0; t < x->tokens; ++t)
    for (int64_t j = 0; j < columns; ++j) values.push_back(get(*x, t, even(x->width) + j));
  return values;
}

}  // namespace

LinearData LinearData::random(const LinearSpec& spec, uint64_t seed) {
  Random source(seed);
  return make_data(spec, [&](int64_t n, float deviation) { return source.normal(n, deviation); });
}

LinearData LinearData::integers(const LinearSpec& spec, uint64_t seed) {
  Random source(seed);
  return make_data(spec, [&](int64_t n, float) { return source.integers(n, 2); });
}

LinearData LinearData::absolute() const {
  LinearData result = *this;
  const auto positive = [](std::vector<float>& values) {
    for (float& value : values) value = std::fabs(value);
  };
  positive(result.x), positive(result.residual), positive(result.dy), positive(result.dx);
  for (Projection& p : result.projections)
    positive(p.weight), positive(p.bias), positive(p.lora_A), positive(p.lora_B);
  return result;
}

LinearResult run_linear(rora_context* context, const LinearSpec& spec, const LinearData& data) {
  const int count = int(spec.projections.size());
  std::vector<std::unique_ptr<Built>> built;
  rora_linear* group = nullptr;
  EXPECT_OK(rora_linear_create(context, count, &group));
  const Handle<rora_linear> linear(group);
  for (int i = 0; i < count; ++i) {
    const ProjectionSpec& p = spec.projections[size_t(i)];
    built.push_back(std::make_unique<Built>(context, spec, p, data.projections[size_t(i)]));
    EXPECT_OK(rora_linear_set_weight(
        group, i, built.back()->weight.get(), p.bias ? built.back()->bias.get() : nullptr,
        p.bias && p.trained ? built.back()->bias_gradient.get() : nullptr));
    EXPECT_OK(rora_linear_set_adapter(group, i, built.back()->adapter.get()));
  }
  EXPECT_OK(rora_linear_set_dropout(group, spec.dropout, 99, 5, 40));
  rora_batch* made = nullptr;
  EXPECT_OK(rora_batch_create(context, spec.tokens, &made));
  const Handle<rora_batch> batch(made);
  const std::vector<int32_t> zeros(size_t(spec.tokens), 0);
  EXPECT_OK(rora_batch_fill(made, spec.tokens, zeros.data(), nullptr, zeros.data(), zeros.data(),
                            data.order.data()));

  const int64_t tail = rora_linear_tail(group), out = total_out(spec);
  const auto x = activation(context, spec, spec.in, tail, &data.x);
  const auto y = activation(context, spec, out, 0, nullptr);
  const auto residual = activation(context, spec, out, 0, &data.residual);
  const auto dy = activation(context, spec, out, tail, &data.dy);
  const auto dx = activation(context, spec, spec.in, 0, &data.dx);
  EXPECT_OK(
      rora_linear_forward(group, made, x.get(), spec.residual ? residual.get() : nullptr, y.get()));
  EXPECT_OK(rora_linear_backward(group, made, x.get(), dy.get(), spec.accumulate, dx.get()));

  LinearResult result;
  result.y = read(y.get());
  result.h = read_tail(x.get(), tail);
  result.dx = read(dx.get());
  // Tokens past the last one of a gradient are zero: the sums over tokens rely on it.
  for (int64_t t = spec.tokens; t < panels(spec.tokens) * kPanel; ++t)
    for (int64_t k = 0; k < spec.in && !spec.accumulate; ++k) EXPECT(get(*dx, t, k) == 0.0f);
  for (int i = 0; i < count; ++i)
    result.projections.push_back(built[size_t(i)]->result(spec.projections[size_t(i)]));
  return result;
}

}  // namespace rora::testing
