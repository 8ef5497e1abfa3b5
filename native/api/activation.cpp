#include "api/host_access.h"
#include "api/layer_checks.h"

namespace rora {
namespace {

// Bytes of `tokens` rows of host floats, `stride` apart.
int64_t host_bytes(int64_t tokens, int64_t columns, int64_t stride) {
  return tokens == 0 || columns == 0 ? 0
                                     : ((tokens - 1) * stride + columns) * int64_t(sizeof(float));
}

// The host pointer may be NULL where there is nothing to copy.
void check_columns(const rora_activation* a, int64_t tokens, int64_t column, int64_t columns,
                   const void* memory, int64_t stride) {
  RORA_REQUIRE(column >= 0 && columns >= 0 && column <= a->width && columns <= a->width - column,
               "columns %lld .. +%lld: must lie within the width (%lld)",
               static_cast<long long>(column), static_cast<long long>(columns),
               static_cast<long long>(a->width));
  RORA_REQUIRE(memory != nullptr || tokens == 0 || columns == 0, "the host pointer is NULL");
  RORA_REQUIRE(stride >= columns, "stride=%lld: must be at least the number of columns (%lld)",
               static_cast<long long>(stride), static_cast<long long>(columns));
}

void check_tokens(const rora_activation* a, int64_t token, int64_t count) {
  RORA_REQUIRE(token >= 0 && count >= 0 && token <= a->tokens && count <= a->tokens - token,
               "tokens %lld .. +%lld: must lie within the activation's (%lld)",
               static_cast<long long>(token), static_cast<long long>(count),
               static_cast<long long>(a->tokens));
}

}  // namespace
}  // namespace rora

using namespace rora;

rora_status rora_activation_create(rora_context* context, rora_dtype dtype, int64_t max_tokens,
                                   int64_t width, int64_t tail, rora_activation** activation) {
  return guard([&] {
    RORA_REQUIRE(context != nullptr && activation != nullptr,
                 "context and activation must not be NULL");
    RORA_REQUIRE(dtype == RORA_F32 || dtype == RORA_BF16,
                 "dtype=%d: an activation is RORA_F32 or RORA_BF16", int(dtype));
    RORA_REQUIRE(max_tokens >= 1 && max_tokens <= INT32_MAX,
                 "max_tokens=%lld: must be 1 .. 2^31 - 1", static_cast<long long>(max_tokens));
    RORA_REQUIRE(width >= 1 && width <= INT32_MAX && tail >= 0 && tail <= INT32_MAX,
                 "width=%lld, tail=%lld: width must be at least 1, tail at least 0",
                 static_cast<long long>(width), static_cast<long long>(tail));
    auto fresh = std::make_unique<rora_activation>();
    *fresh = {context, dtype, max_tokens, 0, width, tail, 0, nullptr};
    fresh->data = allocate(context, context->device->lay_out(*fresh));
    *activation = fresh.release();
  });
}

void rora_activation_destroy(rora_activation* activation) {
  if (activation == nullptr) return;
  release(activation->context, activation->data);
  delete activation;
}

rora_status rora_activation_resize(rora_activation* activation, int64_t tokens) {
  return guard([&] {
    RORA_REQUIRE(activation != nullptr, "activation is NULL");
    RORA_REQUIRE(tokens >= 0 && tokens <= activation->max_tokens, "tokens=%lld: must be 0 .. %lld",
                 static_cast<long long>(tokens), static_cast<long long>(activation->max_tokens));
    activation->tokens = tokens;
  });
}

int64_t rora_activation_tokens(const rora_activation* activation) {
  return activation ? activation->tokens : 0;
}

int64_t rora_activation_bytes(rora_dtype dtype, int64_t max_tokens, int64_t width, int64_t tail) {
  rora_activation shape = {nullptr, dtype, max_tokens, 0, width, tail, 0, nullptr};
  return cpu_device().lay_out(shape);
}

rora_status rora_activation_write(rora_activation* activation, int64_t column, int64_t columns,
                                  const float* source, int64_t stride) {
  return guard([&] {
    RORA_REQUIRE(activation != nullptr, "activation is NULL");
    check_columns(activation, activation->tokens, column, columns, source, stride);
    rora_context& context = *activation->context;
    const DeviceCopy rows(context, const_cast<float*>(source),
                          host_bytes(activation->tokens, columns, stride));
    context.kernels->rows_to_panels(
        context, RowsOp{activation, column, columns, 0, activation->tokens, rows.data(), RORA_F32,
                        stride, false});
  });
}

rora_status rora_activation_read(const rora_activation* activation, int64_t token, int64_t tokens,
                                 int64_t column, int64_t columns, float* target, int64_t stride) {
  return guard([&] {
    RORA_REQUIRE(activation != nullptr, "activation is NULL");
    check_tokens(activation, token, tokens);
    check_columns(activation, tokens, column, columns, target, stride);
    rora_context& context = *activation->context;
    const DeviceCopy rows(context, target, host_bytes(tokens, columns, stride));
    context.kernels->panels_to_rows(
        context, RowsOp{const_cast<rora_activation*>(activation), column, columns, token, tokens,
                        rows.data(), RORA_F32, stride, false});
    rows.bring_back();
  });
}

rora_status rora_activation_copy(const rora_activation* source, rora_activation* target) {
  return guard([&] {
    RORA_REQUIRE(source != nullptr && target != nullptr, "source and target must not be NULL");
    require_same_context(source->context, target->context, "target");
    RORA_REQUIRE(source->width == target->width,
                 "source width %lld, target width %lld: must be equal",
                 static_cast<long long>(source->width), static_cast<long long>(target->width));
    RORA_REQUIRE(
        source->tokens <= target->max_tokens, "source has %lld tokens, target room for %lld",
        static_cast<long long>(source->tokens), static_cast<long long>(target->max_tokens));
    target->tokens = source->tokens;
    rora_context& context = *source->context;
    context.device->copy_activation(context, *source, *target);
  });
}

rora_status rora_activation_add(const rora_activation* source, rora_activation* target) {
  return guard([&] {
    RORA_REQUIRE(source != nullptr && target != nullptr, "source and target must not be NULL");
    require_same_context(source->context, target->context, "target");
    RORA_REQUIRE(source->width == target->width && source->tokens == target->tokens,
                 "source [%lld, %lld], target [%lld, %lld]: must have the same shape",
                 static_cast<long long>(source->tokens), static_cast<long long>(source->width),
                 static_cast<long long>(target->tokens), static_cast<long long>(target->width));
    source->context->kernels->add(*source->context, AddOp{source, target});
  });
}

rora_status rora_activation_clear(rora_activation* activation) {
  return guard([&] {
    RORA_REQUIRE(activation != nullptr, "activation is NULL");
    activation->context->device->clear_activation(*activation->context, *activation);
  });
}

rora_status rora_activation_copy_tokens(const rora_activation* source, int64_t source_token,
                                        rora_activation* target, int64_t target_token,
                                        int64_t count) {
  return guard([&] {
    RORA_REQUIRE(source != nullptr && target != nullptr, "source and target must not be NULL");
    require_same_context(source->context, target->context, "target");
    RORA_REQUIRE(source->width == target->width,
                 "source width %lld, target width %lld: must be equal",
                 static_cast<long long>(source->width), static_cast<long long>(target->width));
    check_tokens(source, source_token, count);
    check_tokens(target, target_token, count);
    RORA_REQUIRE(source != target || source_token + count <= target_token ||
                     target_token + count <= source_token,
                 "the ranges of one activation must not overlap");
    rora_context& context = *source->context;
    context.device->copy_tokens(context, *source, source_token, *target, target_token, count);
  });
}
