// Owners of the C API's objects, for tests.
#pragma once

#include <memory>

#include "api/device.h"
#include "cpu/panel.h"
#include "testing.h"

namespace rora::testing {

template <class T, void (*destroy)(T*)>
struct Destroy {
  void operator()(T* object) const { destroy(object); }
};
template <class T, void (*destroy)(T*)>
using Handle = std::unique_ptr<T, Destroy<T, destroy>>;

// Memory that the device under test takes for its own and the host reaches too: the CPU's or the
// emulation's.
template <class T>
struct DeviceAllocator {
  using value_type = T;
  DeviceAllocator() = default;
  template <class U>
  DeviceAllocator(const DeviceAllocator<U>&) {}

  T* allocate(size_t count) {
    void* memory = nullptr;
    EXPECT_OK(rora_alloc(context(), int64_t(count * sizeof(T)), &memory));
    return static_cast<T*>(memory);
  }
  void deallocate(T* memory, size_t) { rora_free(context(), memory); }
  friend bool operator==(const DeviceAllocator&, const DeviceAllocator&) { return true; }

  static rora_context* context() {
    static const Context context(levels().back(), 1);
    return context;
  }
};
template <class T>
using DeviceVector = std::vector<T, DeviceAllocator<T>>;

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

// The first `columns` columns of the tail of a group's projection, behind those of the ranks in
// front of it: [tokens, columns]. The CPU has panels; other devices rows whose parts start at
// multiples of row_elements.
inline std::vector<float> tail_values(const rora_activation& a,
                                      const std::vector<int64_t>& ranks_before, int64_t columns) {
  const Device& device = *a.context->device;
  const int64_t unit = device.on_host ? 2 : device.row_elements;
  int64_t first = round_up(even(a.width), unit);
  for (const int64_t rank : ranks_before) first += round_up(rank, unit);
  const int64_t count = a.tokens * a.rows, bytes = count * (a.dtype == RORA_F32 ? 4 : 2);
  std::vector<float> floats(static_cast<size_t>(count));
  std::vector<uint16_t> halves(static_cast<size_t>(count));
  void* const rows = a.dtype == RORA_F32 ? static_cast<void*>(floats.data()) : halves.data();
  if (!device.on_host && count > 0) EXPECT_OK(rora_download(a.context, rows, a.data, bytes));
  std::vector<float> values;
  for (int64_t t = 0; t < a.tokens; ++t)
    for (int64_t at = first; at < first + columns; ++at) {
      const size_t i = size_t(t * a.rows + at);
      values.push_back(device.on_host        ? get(a, t, at)
                       : a.dtype == RORA_F32 ? floats[i]
                                             : bf16_to_float(halves[i]));
    }
  return values;
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
