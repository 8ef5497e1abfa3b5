// The linear operators on row-major floats: copies into activations, the same kernels, copies out.
#include <memory>

#include "api/guard.h"
#include "api/objects.h"
#include "cpu/panel.h"

namespace rora {
namespace {

using Long = long long;

void check_matrix(const char* name, const void* data, const char* stride_name, int64_t stride,
                  const char* what, int64_t columns) {
  RORA_REQUIRE(data != nullptr, "%s is NULL: it must be given", name);
  RORA_REQUIRE(stride >= columns, "%s=%lld: must be at least %s (%lld)", stride_name, Long(stride),
               what, Long(columns));
  RORA_REQUIRE(stride <= INT32_MAX, "%s=%lld: must be at most 2^31 - 1", stride_name, Long(stride));
}

// Half-open address range of a row-major matrix.
struct Range {
  const char* name;
  const float *begin, *end;
};

Range range_of(const char* name, const float* data, int64_t rows, int64_t columns, int64_t stride) {
  return {name, data, rows > 0 ? data + (rows - 1) * stride + columns : data};
}

void check_apart(const Range& output, const Range& other) {
  RORA_REQUIRE(output.end <= other.begin || other.end <= output.begin ||
                   output.begin == output.end || other.begin == other.end,
               "%s overlaps %s: outputs must not overlap anything else", output.name, other.name);
}

void ok(rora_status status) {
  if (status != RORA_OK) fail(status, "%s", std::string(rora_last_error()).c_str());
}

using ActivationPtr = std::unique_ptr<rora_activation, decltype(&rora_activation_destroy)>;

ActivationPtr make_activation(rora_context* context, int64_t tokens, int64_t width, int64_t tail) {
  rora_activation* activation = nullptr;
  ok(rora_activation_create(context, RORA_F32, tokens, width, tail, &activation));
  activation->tokens = tokens;
  return {activation, rora_activation_destroy};
}

struct Release {
  rora_context* context;
  void operator()(float* memory) const { release(context, memory); }
};
using Floats = std::unique_ptr<float, Release>;

Floats dense_copy(rora_context* context, const float* source, int64_t rows, int64_t columns,
                  int64_t stride) {
  Floats copy(static_cast<float*>(allocate(context, rows * columns * 4)), Release{context});
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) copy.get()[i * columns + j] = source[i * stride + j];
  return copy;
}

void scatter(const float* dense, int64_t rows, int64_t columns, float* target, int64_t stride) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) target[i * stride + j] = dense[i * columns + j];
}

// One projection with its adapter, over dense copies of A and B.
struct Group {
  Floats a, b, a_gradient, b_gradient;
  std::unique_ptr<rora_adapter, decltype(&rora_adapter_destroy)> adapter{nullptr,
                                                                         rora_adapter_destroy};
  std::unique_ptr<rora_linear, decltype(&rora_linear_destroy)> linear{nullptr, rora_linear_destroy};

  Group(rora_context* context, const rora_weight* weight, int64_t rank, float scaling,
        const float* lora_A, int64_t lda, const float* lora_B, int64_t ldb, bool trained)
      : a(dense_copy(context, lora_A, rank, weight->in_features, lda)),
        b(dense_copy(context, lora_B, weight->out_features, rank, ldb)),
        a_gradient(nullptr, Release{context}),
        b_gradient(nullptr, Release{context}) {
    if (trained) {
      a_gradient.reset(static_cast<float*>(allocate(context, rank * weight->in_features * 4)));
      b_gradient.reset(static_cast<float*>(allocate(context, rank * weight->out_features * 4)));
    }
    rora_adapter* made = nullptr;
    ok(rora_adapter_create(context, weight->out_features, weight->in_features, rank, scaling,
                           a.get(), b.get(), nullptr, a_gradient.get(), b_gradient.get(), nullptr,
                           &made));
    adapter.reset(made);
    rora_linear* group = nullptr;
    ok(rora_linear_create(context, 1, &group));
    linear.reset(group);
    ok(rora_linear_set_weight(group, 0, weight, nullptr, nullptr));
    ok(rora_linear_set_adapter(group, 0, made));
  }
};

void check_common(rora_context* context, const rora_weight* weight, int64_t tokens, int64_t rank) {
  RORA_REQUIRE(context != nullptr && weight != nullptr, "context and weight must not be NULL");
  RORA_REQUIRE(weight->context == context, "weight belongs to another context: make both on one");
  RORA_REQUIRE(tokens >= 0, "tokens=%lld: must not be negative", Long(tokens));
  RORA_REQUIRE(tokens <= INT32_MAX, "tokens=%lld: must be at most 2^31 - 1", Long(tokens));
  RORA_REQUIRE(rank >= 1, "rank=%lld: must be at least 1", Long(rank));
}

}  // namespace
}  // namespace rora

using namespace rora;

rora_status rora_linear_forward_f32(rora_context* context, const rora_weight* weight,
                                    int64_t tokens, int64_t rank, float scaling, const float* x,
                                    int64_t ldx, const float* lora_A, int64_t lda,
                                    const float* lora_B, int64_t ldb, float* h, int64_t ldh,
                                    float* y, int64_t ldy) {
  return guard([&] {
    check_common(context, weight, tokens, rank);
    const int64_t in = weight->in_features, out = weight->out_features;
    check_matrix("x", x, "ldx", ldx, "in_features", in);
    check_matrix("lora_A", lora_A, "lda", lda, "in_features", in);
    check_matrix("lora_B", lora_B, "ldb", ldb, "rank", rank);
    check_matrix("h", h, "ldh", ldh, "rank", rank);
    check_matrix("y", y, "ldy", ldy, "out_features", out);
    const Range outputs[] = {range_of("h", h, tokens, rank, ldh),
                             range_of("y", y, tokens, out, ldy)};
    check_apart(outputs[0], outputs[1]);
    for (const Range& output : outputs) {
      check_apart(output, range_of("x", x, tokens, in, ldx));
      check_apart(output, range_of("lora_A", lora_A, rank, in, lda));
      check_apart(output, range_of("lora_B", lora_B, out, rank, ldb));
    }
    if (tokens == 0) return;
    const Group group(context, weight, rank, scaling, lora_A, lda, lora_B, ldb, false);
    const ActivationPtr input = make_activation(context, tokens, in, rank);
    const ActivationPtr output = make_activation(context, tokens, out, 0);
    ok(rora_activation_write(input.get(), 0, in, x, ldx));
    ok(rora_linear_forward(group.linear.get(), nullptr, input.get(), nullptr, output.get()));
    ok(rora_activation_read(output.get(), 0, tokens, 0, out, y, ldy));
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t j = 0; j < rank; ++j) h[t * ldh + j] = get(*input, t, even(in) + j);
  });
}

rora_status rora_linear_backward_f32(rora_context* context, const rora_weight* weight,
                                     int64_t tokens, int64_t rank, float scaling, const float* x,
                                     int64_t ldx, const float* lora_A, int64_t lda,
                                     const float* lora_B, int64_t ldb, const float* h, int64_t ldh,
                                     const float* dy, int64_t lddy, float* dA, int64_t ldda,
                                     float* dB, int64_t lddb, float* dx, int64_t lddx) {
  return guard([&] {
    check_common(context, weight, tokens, rank);
    const int64_t in = weight->in_features, out = weight->out_features;
    check_matrix("x", x, "ldx", ldx, "in_features", in);
    check_matrix("lora_A", lora_A, "lda", lda, "in_features", in);
    check_matrix("lora_B", lora_B, "ldb", ldb, "rank", rank);
    check_matrix("h", h, "ldh", ldh, "rank", rank);
    check_matrix("dy", dy, "lddy", lddy, "out_features", out);
    check_matrix("dA", dA, "ldda", ldda, "in_features", in);
    check_matrix("dB", dB, "lddb", lddb, "rank", rank);
    if (dx != nullptr) check_matrix("dx", dx, "lddx", lddx, "in_features", in);
    const Range inputs[] = {
        range_of("x", x, tokens, in, ldx), range_of("lora_A", lora_A, rank, in, lda),
        range_of("lora_B", lora_B, out, rank, ldb), range_of("h", h, tokens, rank, ldh),
        range_of("dy", dy, tokens, out, lddy)};
    const Range outputs[] = {range_of("dA", dA, rank, in, ldda),
                             range_of("dB", dB, out, rank, lddb),
                             range_of("dx", dx, dx ? tokens : 0, in, lddx)};
    for (int i = 0; i < 3; ++i) {
      for (const Range& input : inputs) check_apart(outputs[i], input);
      for (int j = 0; j < i; ++j) check_apart(outputs[i], outputs[j]);
    }
    const Group group(context, weight, rank, scaling, lora_A, lda, lora_B, ldb, true);
    if (tokens > 0) {
      const ActivationPtr input = make_activation(context, tokens, in, rank);
      const ActivationPtr gradient = make_activation(context, tokens, out, rank);
      const ActivationPtr input_gradient = make_activation(context, tokens, in, 0);
      ok(rora_activation_write(input.get(), 0, in, x, ldx));
      for (int64_t t = 0; t < tokens; ++t)
        for (int64_t j = 0; j < rank; ++j) set(*input, t, even(in) + j, h[t * ldh + j]);
      ok(rora_activation_write(gradient.get(), 0, out, dy, lddy));
      ok(rora_linear_backward(group.linear.get(), nullptr, input.get(), gradient.get(), 0,
                              dx ? input_gradient.get() : nullptr));
      if (dx) ok(rora_activation_read(input_gradient.get(), 0, tokens, 0, in, dx, lddx));
    }
    scatter(group.a_gradient.get(), rank, in, dA, ldda);
    scatter(group.b_gradient.get(), out, rank, dB, lddb);
  });
}
