#include "api/device.h"
#include "api/layer_checks.h"

namespace rora {
namespace {

using Long = long long;

void check_index(const rora_linear* linear, int32_t index) {
  RORA_REQUIRE(linear != nullptr, "linear is NULL");
  RORA_REQUIRE(index >= 0 && index < linear->projections, "index=%d: must be 0 .. %d", index,
               linear->projections - 1);
}

void check_complete(const rora_linear* linear) {
  RORA_REQUIRE(linear != nullptr, "linear is NULL");
  for (int32_t i = 0; i < linear->projections; ++i)
    RORA_REQUIRE(linear->projection[i].weight != nullptr,
                 "projection %d has no weight: call rora_linear_set_weight first", i);
}

void check_operand(const char* name, const rora_activation* a, int64_t width, int64_t tail) {
  RORA_REQUIRE(a != nullptr, "%s is NULL", name);
  RORA_REQUIRE(a->width == width, "%s is %lld wide: must be %lld", name, Long(a->width),
               Long(width));
  RORA_REQUIRE(even(a->tail) >= tail,
               "%s has a tail of %lld columns: must be at least %lld, the sum of the ranks", name,
               Long(a->tail), Long(tail));
}

// Of the group's context; on a GPU, whose kernels take one type for all, of `like`'s type, too.
void check_kind(const rora_linear* linear, const rora_activation* a, const char* name,
                const rora_activation* like) {
  if (a == nullptr) return;
  require_same_context(linear->context, a->context, name);
  RORA_REQUIRE(linear->context->device->on_host || a->dtype == like->dtype,
               "%s is %s: on this device all activations of a call must be %s", name,
               dtype_name(a->dtype), dtype_name(like->dtype));
}

void check_batch(const rora_linear* linear, const rora_batch* batch, int64_t tokens) {
  if (linear->dropout == 0.0f) return;
  RORA_REQUIRE(batch != nullptr, "batch is NULL: dropout needs the order of the tokens");
  RORA_REQUIRE(batch->tokens == tokens, "batch has %lld tokens, the activation %lld",
               Long(batch->tokens), Long(tokens));
}

void check_input(const rora_linear* linear, const rora_batch* batch, const rora_activation* x) {
  check_complete(linear);
  check_operand("x", x, linear->in_features(), linear->tail(linear->projections));
  check_batch(linear, batch, x->tokens);
}

bool trains(const rora_linear* linear) {
  for (int32_t i = 0; i < linear->projections; ++i) {
    const rora_linear::Projection& p = linear->projection[i];
    if (p.weight->gradient || (p.adapter && p.adapter->lora_A_gradient)) return true;
  }
  return false;
}

}  // namespace
}  // namespace rora

using namespace rora;

rora_status rora_linear_create(rora_context* context, int32_t projections, rora_linear** linear) {
  return guard([&] {
    RORA_REQUIRE(context != nullptr && linear != nullptr, "context and linear must not be NULL");
    RORA_REQUIRE(projections >= 1 && projections <= 4, "projections=%d: must be 1 .. 4",
                 projections);
    auto fresh = std::make_unique<rora_linear>();
    *fresh = {};
    fresh->context = context;
    fresh->projections = projections;
    *linear = fresh.release();
  });
}

void rora_linear_destroy(rora_linear* linear) { delete linear; }

rora_status rora_linear_set_weight(rora_linear* linear, int32_t index, const rora_weight* weight,
                                   const float* bias, float* bias_gradient) {
  return guard([&] {
    check_index(linear, index);
    RORA_REQUIRE(weight != nullptr, "weight is NULL");
    require_same_context(linear->context, weight->context, "weight");
    RORA_REQUIRE(bias_gradient == nullptr || bias != nullptr,
                 "a gradient of the bias needs a bias");
    for (int32_t i = 0; i < linear->projections; ++i) {
      const rora_weight* other = linear->projection[i].weight;
      RORA_REQUIRE(
          i == index || other == nullptr || other->in_features == weight->in_features,
          "projection %d reads %lld features, projection %d %lld: a group shares its input", index,
          Long(weight->in_features), i, other ? Long(other->in_features) : 0);
    }
    linear->projection[index] = {weight, bias, bias_gradient, nullptr};
  });
}

rora_status rora_linear_set_adapter(rora_linear* linear, int32_t index,
                                    const rora_adapter* adapter) {
  return guard([&] {
    check_index(linear, index);
    const rora_weight* weight = linear->projection[index].weight;
    RORA_REQUIRE(weight != nullptr,
                 "projection %d has no weight: call rora_linear_set_weight first", index);
    if (adapter != nullptr) require_same_context(linear->context, adapter->context, "adapter");
    RORA_REQUIRE(
        adapter == nullptr || (adapter->out_features == weight->out_features &&
                               adapter->in_features == weight->in_features),
        "adapter of a [%lld, %lld] projection, weight [%lld, %lld]: must have the same shape",
        adapter ? Long(adapter->out_features) : 0, adapter ? Long(adapter->in_features) : 0,
        Long(weight->out_features), Long(weight->in_features));
    RORA_REQUIRE(
        adapter == nullptr || adapter->magnitude == nullptr || adapter->norm_weight == weight,
        "a DoRA adapter must know its weight's norms: call rora_adapter_refresh first");
    linear->projection[index].adapter = adapter;
  });
}

rora_status rora_linear_set_dropout(rora_linear* linear, float probability, uint64_t seed,
                                    uint64_t step, uint32_t stream) {
  return guard([&] {
    RORA_REQUIRE(linear != nullptr, "linear is NULL");
    RORA_REQUIRE(probability >= 0.0f && probability < 1.0f, "probability=%g: must be 0 <= p < 1",
                 double(probability));
    linear->dropout = probability;
    linear->seed = seed;
    linear->step = step;
    linear->stream = stream;
  });
}

int64_t rora_linear_column(const rora_linear* linear, int32_t index) {
  if (linear == nullptr || index < 0 || index > linear->projections) return -1;
  for (int32_t i = 0; i < linear->projections; ++i)
    if (linear->projection[i].weight == nullptr) return -1;
  return linear->column(index);
}

int64_t rora_linear_tail(const rora_linear* linear) {
  return linear ? linear->tail(linear->projections) : -1;
}

rora_status rora_linear_forward(rora_linear* linear, const rora_batch* batch, rora_activation* x,
                                const rora_activation* residual, rora_activation* y) {
  return guard([&] {
    check_input(linear, batch, x);
    const int64_t width = linear->column(linear->projections);
    RORA_REQUIRE(y != nullptr, "y is NULL");
    RORA_REQUIRE(even(y->width) == width, "y is %lld wide: must be %lld", Long(y->width),
                 Long(width));
    RORA_REQUIRE(y != x, "y and x must not be the same activation");
    RORA_REQUIRE(y->max_tokens >= x->tokens, "y has room for %lld tokens, x has %lld",
                 Long(y->max_tokens), Long(x->tokens));
    RORA_REQUIRE(
        residual == nullptr || (residual->width == y->width && residual->tokens == x->tokens),
        "residual [%lld, %lld]: must be [%lld, %lld]", residual ? Long(residual->tokens) : 0,
        residual ? Long(residual->width) : 0, Long(x->tokens), Long(y->width));
    check_kind(linear, x, "x", x);
    check_kind(linear, y, "y", x);
    check_kind(linear, residual, "residual", x);
    y->tokens = x->tokens;
    if (x->tokens == 0) return;
    LinearOp op{};
    op.linear = linear, op.batch = batch, op.x = x, op.residual = residual, op.y = y;
    linear->context->kernels->linear_forward(*linear->context, op);
  });
}

rora_status rora_linear_shrink(rora_linear* linear, const rora_batch* batch, rora_activation* x) {
  return guard([&] {
    check_input(linear, batch, x);
    check_kind(linear, x, "x", x);
    if (x->tokens == 0) return;
    LinearOp op{};
    op.linear = linear, op.batch = batch, op.x = x;
    linear->context->kernels->linear_shrink(*linear->context, op);
  });
}

rora_status rora_linear_backward(rora_linear* linear, const rora_batch* batch,
                                 const rora_activation* x, rora_activation* dy, int32_t accumulate,
                                 rora_activation* dx) {
  return guard([&] {
    check_complete(linear);
    const int64_t tail = linear->tail(linear->projections);
    RORA_REQUIRE(dy != nullptr, "dy is NULL");
    const int64_t width = linear->column(linear->projections);
    RORA_REQUIRE(even(dy->width) == width, "dy is %lld wide: must be %lld", Long(dy->width),
                 Long(width));
    check_operand("dy", dy, dy->width, tail);
    check_batch(linear, batch, dy->tokens);
    RORA_REQUIRE(x != nullptr || !trains(linear), "x is NULL: something of this group is trained");
    if (x != nullptr) {
      check_operand("x", x, linear->in_features(), tail);
      RORA_REQUIRE(x->tokens == dy->tokens, "x has %lld tokens, dy %lld", Long(x->tokens),
                   Long(dy->tokens));
    }
    check_kind(linear, dy, "dy", dy);
    check_kind(linear, x, "x", dy);
    check_kind(linear, dx, "dx", dy);
    if (dx != nullptr) {
      check_operand("dx", dx, linear->in_features(), 0);
      RORA_REQUIRE(dx != x && dx != dy, "dx must not be x or dy");
      RORA_REQUIRE(dx->max_tokens >= dy->tokens && (!accumulate || dx->tokens == dy->tokens),
                   "dx has %lld tokens and room for %lld, dy has %lld", Long(dx->tokens),
                   Long(dx->max_tokens), Long(dy->tokens));
      dx->tokens = dy->tokens;
    }
    if (dy->tokens == 0) return;
    LinearOp op{};
    op.linear = linear, op.batch = batch, op.x = const_cast<rora_activation*>(x), op.dy = dy;
    op.dx = dx, op.accumulate = accumulate != 0;
    linear->context->kernels->linear_backward(*linear->context, op);
  });
}
