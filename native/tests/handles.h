// Owners of the C API's objects, for tests.
#pragma once

#include <memory>

#include "testing.h"

namespace rora::testing {

template <class T, void (*destroy)(T*)>
struct Destroy {
  void operator()(T* object) const { destroy(object); }
};
template <class T, void (*destroy)(T*)>
using Handle = std::unique_ptr<T, Destroy<T, destroy>>;

using ActivationHandle = Handle<rora_activation, rora_activation_destroy>;
using WeightHandle = Handle<rora_weight, rora_weight_destroy>;
using AdapterHandle = Handle<rora_adapter, rora_adapter_destroy>;
using LinearHandle = Handle<rora_linear, rora_linear_destroy>;
using BatchHandle = Handle<rora_batch, rora_batch_destroy>;

// Zero, resized to all its tokens.
inline ActivationHandle make_activation(rora_context* context, rora_dtype dtype, int64_t tokens,
                                        int64_t width, int64_t tail = 0) {
  rora_activation* made = nullptr;
  EXPECT_OK(rora_activation_create(context, dtype, tokens > 0 ? tokens : 1, width, tail, &made));
  EXPECT_OK(rora_activation_resize(made, tokens));
  return ActivationHandle(made);
}

inline WeightHandle make_weight(rora_context* context, rora_dtype dtype, int64_t out, int64_t in,
                                const std::vector<float>& values) {
  rora_weight* made = nullptr;
  EXPECT_OK(rora_weight_create(context, dtype, out, in, &made));
  EXPECT_OK(rora_weight_write(made, 0, out, RORA_F32, values.data(), in));
  return WeightHandle(made);
}

// A batch whose tokens are one document; `order` may be empty.
inline BatchHandle make_batch(rora_context* context, int64_t tokens,
                              const std::vector<int32_t>& order = {}) {
  rora_batch* made = nullptr;
  EXPECT_OK(rora_batch_create(context, tokens > 0 ? tokens : 1, &made));
  std::vector<int32_t> zeros(static_cast<size_t>(tokens) + 1, 0), positions = zeros;
  for (int64_t t = 0; t < tokens; ++t) positions[size_t(t)] = int32_t(t);
  EXPECT_OK(rora_batch_fill(made, tokens, zeros.data(), nullptr, positions.data(), zeros.data(),
                            order.empty() ? nullptr : order.data()));
  return BatchHandle(made);
}

}  // namespace rora::testing
