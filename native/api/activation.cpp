#include <algorithm>
#include <cstring>

#include "api/guard.h"
#include "api/objects.h"
#include "cpu/panel.h"
#include "cpu/thread_pool.h"

namespace rora {
namespace {

int64_t rows_of(int64_t width, int64_t tail) { return even(width) + even(tail); }

int64_t bytes_of(rora_dtype dtype, int64_t max_tokens, int64_t width, int64_t tail) {
  const int64_t row_bytes = kPanel * (dtype == RORA_F32 ? 4 : 2);
  return product_or_max(panels(max_tokens), rows_of(width, tail) * row_bytes);
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

constexpr int64_t kReadColumns = 4096;

// Runs body(token) for [0, tokens), a panel a task.
template <class Body>
void for_tokens(rora_context* context, int64_t tokens, const Body& body) {
  parallel(*context->pool, panels(tokens), [&](int64_t panel, int32_t) {
    const int64_t end = std::min(tokens, (panel + 1) * kPanel);
    for (int64_t t = panel * kPanel; t < end; ++t) body(t);
  });
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
    *fresh = {context, dtype, max_tokens, 0, width, tail, rows_of(width, tail), nullptr};
    fresh->data = allocate(context, bytes_of(dtype, max_tokens, width, tail));
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
  return bytes_of(dtype, max_tokens, width, tail);
}

rora_status rora_activation_write(rora_activation* activation, int64_t column, int64_t columns,
                                  const float* source, int64_t stride) {
  return guard([&] {
    RORA_REQUIRE(activation != nullptr, "activation is NULL");
    check_columns(activation, activation->tokens, column, columns, source, stride);
    for_tokens(activation->context, activation->tokens, [&](int64_t t) {
      for (int64_t f = 0; f < columns; ++f) set(*activation, t, column + f, source[t * stride + f]);
    });
    // Tokens past the last one in its panel become zero, which gradients must be there.
    const int64_t end = panels(activation->tokens) * kPanel;
    for (int64_t t = activation->tokens; t < end; ++t)
      for (int64_t f = 0; f < columns; ++f) set(*activation, t, column + f, 0.0f);
  });
}

rora_status rora_activation_read(const rora_activation* activation, int64_t token, int64_t tokens,
                                 int64_t column, int64_t columns, float* target, int64_t stride) {
  return guard([&] {
    RORA_REQUIRE(activation != nullptr, "activation is NULL");
    check_tokens(activation, token, tokens);
    check_columns(activation, tokens, column, columns, target, stride);
    // A task is some columns of one token: the logits of a token are many, far apart in its panel.
    const int64_t blocks = (columns + kReadColumns - 1) / kReadColumns;
    parallel(*activation->context->pool, tokens * blocks, [&](int64_t task, int32_t) {
      const int64_t t = task / blocks, first = task % blocks * kReadColumns;
      for (int64_t f = first; f < std::min(columns, first + kReadColumns); ++f)
        target[t * stride + f] = get(*activation, token + t, column + f);
    });
  });
}

rora_status rora_activation_copy(const rora_activation* source, rora_activation* target) {
  return guard([&] {
    RORA_REQUIRE(source != nullptr && target != nullptr, "source and target must not be NULL");
    RORA_REQUIRE(source->width == target->width,
                 "source width %lld, target width %lld: must be equal",
                 static_cast<long long>(source->width), static_cast<long long>(target->width));
    RORA_REQUIRE(
        source->tokens <= target->max_tokens, "source has %lld tokens, target room for %lld",
        static_cast<long long>(source->tokens), static_cast<long long>(target->max_tokens));
    target->tokens = source->tokens;
    const int64_t rows = even(source->width);
    parallel(*source->context->pool, panels(source->tokens), [&](int64_t panel, int32_t) {
      const int64_t from = panel * panel_stride(*source), to = panel * panel_stride(*target);
      if (source->dtype == target->dtype) {
        const int64_t bytes = source->dtype == RORA_F32 ? 4 : 2;
        std::memcpy(static_cast<char*>(target->data) + to * bytes,
                    static_cast<const char*>(source->data) + from * bytes,
                    static_cast<size_t>(rows * kPanel * bytes));
        return;
      }
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t t = panel * kPanel; t < (panel + 1) * kPanel; ++t)
          set(*target, t, r, get(*source, t, r));
    });
  });
}

rora_status rora_activation_add(const rora_activation* source, rora_activation* target) {
  return guard([&] {
    RORA_REQUIRE(source != nullptr && target != nullptr, "source and target must not be NULL");
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
    const int64_t bytes = activation->dtype == RORA_F32 ? 4 : 2;
    const int64_t size = even(activation->width) * kPanel * bytes;
    for (int64_t p = 0; p < panels(activation->tokens); ++p)
      std::memset(static_cast<char*>(activation->data) + p * panel_stride(*activation) * bytes, 0,
                  static_cast<size_t>(size));
  });
}

rora_status rora_activation_copy_tokens(const rora_activation* source, int64_t source_token,
                                        rora_activation* target, int64_t target_token,
                                        int64_t count) {
  return guard([&] {
    RORA_REQUIRE(source != nullptr && target != nullptr, "source and target must not be NULL");
    RORA_REQUIRE(source->width == target->width,
                 "source width %lld, target width %lld: must be equal",
                 static_cast<long long>(source->width), static_cast<long long>(target->width));
    check_tokens(source, source_token, count);
    check_tokens(target, target_token, count);
    RORA_REQUIRE(source != target || source_token + count <= target_token ||
                     target_token + count <= source_token,
                 "the ranges of one activation must not overlap");
    for (int64_t i = 0; i < count; ++i)
      for (int64_t f = 0; f < source->width; ++f)
        set(*target, target_token + i, f, get(*source, source_token + i, f));
  });
}
