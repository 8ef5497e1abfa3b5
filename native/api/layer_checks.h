// Checks that the entry points of several layers share. Messages give the value, the rule and the
// remedy (api/guard.h).
#pragma once

#include "api/guard.h"
#include "api/objects.h"

namespace rora {

inline const char* dtype_name(rora_dtype dtype) {
  return dtype == RORA_F32 ? "f32" : dtype == RORA_BF16 ? "bf16" : "f16";
}

inline void require_given(const void* pointer, const char* name) {
  RORA_REQUIRE(pointer != nullptr, "%s is NULL: it must be given", name);
}

inline void require_same_context(const rora_context* a, const rora_context* b, const char* name) {
  RORA_REQUIRE(a == b, "%s belongs to another context: make all arguments on one", name);
}

inline void require_same_dtype(const rora_activation* a, const char* a_name,
                               const rora_activation* b, const char* b_name) {
  RORA_REQUIRE(a->dtype == b->dtype, "%s is %s but %s is %s: they must be of one type", a_name,
               dtype_name(a->dtype), b_name, dtype_name(b->dtype));
}

inline void require_distinct(const rora_activation* a, const char* a_name, const rora_activation* b,
                             const char* b_name) {
  RORA_REQUIRE(a != b, "%s and %s are the same activation: %s must be another one", a_name, b_name,
               b_name);
}

inline void require_width(const rora_activation* a, const char* name, int64_t width) {
  RORA_REQUIRE(a->width == width, "%s is %lld wide: it must have a width of %lld", name,
               static_cast<long long>(a->width), static_cast<long long>(width));
}

inline void require_tokens(const rora_activation* a, const char* name, int64_t tokens) {
  RORA_REQUIRE(a->tokens == tokens,
               "%s holds %lld tokens: it must hold %lld like the other arguments", name,
               static_cast<long long>(a->tokens), static_cast<long long>(tokens));
}

inline void require_room(const rora_activation* a, const char* name, int64_t tokens) {
  RORA_REQUIRE(a->max_tokens >= tokens,
               "%s has room for %lld tokens: %lld are needed, so make it with max_tokens=%lld",
               name, static_cast<long long>(a->max_tokens), static_cast<long long>(tokens),
               static_cast<long long>(tokens));
}

inline void require_columns(const rora_activation* a, const char* name, int64_t column,
                            int64_t columns) {
  RORA_REQUIRE(column >= 0 && column % 2 == 0,
               "column %lld of %s: columns start at an even number >= 0",
               static_cast<long long>(column), name);
  RORA_REQUIRE(columns >= 0 && columns <= a->width && column <= a->width - columns,
               "columns %lld .. +%lld of %s: it has a width of %lld",
               static_cast<long long>(column), static_cast<long long>(columns), name,
               static_cast<long long>(a->width));
}

}  // namespace rora
