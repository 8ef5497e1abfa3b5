#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>

#include "api/host_access.h"
#include "api/weight_rows.h"
#include "cpu/panel.h"
#include "cpu/thread_pool.h"

namespace rora {
namespace {

constexpr int64_t kRowsPerTask = 64;

// Tells what is cached of a weight (DoRA's norms) from what it holds now, even if another weight
// has taken its address.
uint64_t next_version() {
  static std::atomic<uint64_t> last{0};
  return last.fetch_add(1) + 1;
}

float half_to_float(uint16_t bits) {
  const int exponent = (bits >> 10) & 31, fraction = bits & 1023;
  const float sign = bits & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) {
    // The payload moves with the NaN, as the hardware conversion does.
    const uint32_t wide = uint32_t(bits & 0x8000) << 16 | 0x7f800000u | uint32_t(fraction) << 13;
    float value;
    std::memcpy(&value, &wide, sizeof value);
    return value;
  }
  const float scaled = exponent == 0 ? std::ldexp(float(fraction), -24)
                                     : std::ldexp(float(fraction + 1024), exponent - 25);
  return sign * scaled;
}

float source_at(const void* source, rora_dtype dtype, int64_t i) {
  switch (dtype) {
    case RORA_F32:
      return static_cast<const float*>(source)[i];
    case RORA_BF16:
      return bf16_to_float(static_cast<const uint16_t*>(source)[i]);
    default:
      return half_to_float(static_cast<const uint16_t*>(source)[i]);
  }
}

int64_t element_bytes(rora_dtype dtype) { return dtype == RORA_F32 ? 4 : 2; }

int64_t bytes_of(const rora_weight& weight, int64_t rows) {
  return product_or_max(rows * weight.pitch, element_bytes(weight.dtype));
}

char* row_data(const rora_weight& weight, int64_t row) {
  return static_cast<char*>(weight.data) + row * weight.pitch * element_bytes(weight.dtype);
}

void check_rows(const rora_weight* weight, int64_t row, int64_t rows, const void* memory,
                int64_t stride) {
  RORA_REQUIRE(weight != nullptr, "weight is NULL");
  RORA_REQUIRE(
      row >= 0 && rows >= 0 && row <= weight->out_features && rows <= weight->out_features - row,
      "rows %lld .. +%lld: must lie within out_features (%lld)", static_cast<long long>(row),
      static_cast<long long>(rows), static_cast<long long>(weight->out_features));
  RORA_REQUIRE(memory != nullptr || rows == 0, "the host pointer is NULL");
  RORA_REQUIRE(stride >= weight->in_features, "stride=%lld: must be at least in_features (%lld)",
               static_cast<long long>(stride), static_cast<long long>(weight->in_features));
}

// One row, as it lies on the device, from element `offset` of the source on.
void write_row(const rora_weight& weight, char* target, rora_dtype dtype, const void* source,
               int64_t offset) {
  const int64_t in = weight.in_features, bytes = element_bytes(weight.dtype);
  std::memset(target + in * bytes, 0, static_cast<size_t>((weight.pitch - in) * bytes));
  if (dtype == weight.dtype) {
    std::memcpy(target, static_cast<const char*>(source) + offset * bytes,
                static_cast<size_t>(in * bytes));
    return;
  }
  for (int64_t k = 0; k < in; ++k) {
    const float value = source_at(source, dtype, offset + k);
    if (weight.dtype == RORA_F32)
      reinterpret_cast<float*>(target)[k] = value;
    else
      reinterpret_cast<uint16_t*>(target)[k] = float_to_bf16(value);
  }
}

template <class Body>
void for_rows(const rora_weight& weight, int64_t rows, const Body& body) {
  parallel(*weight.context->pool, (rows + kRowsPerTask - 1) / kRowsPerTask,
           [&](int64_t task, int32_t) {
             const int64_t end = std::min(rows, (task + 1) * kRowsPerTask);
             for (int64_t i = task * kRowsPerTask; i < end; ++i) body(i);
           });
}

void write_rows(const rora_weight& weight, int64_t row, int64_t rows, rora_dtype dtype,
                const void* source, int64_t stride) {
  const HostWrite target(*weight.context, row_data(weight, row), bytes_of(weight, rows));
  for_rows(weight, rows, [&](int64_t i) {
    write_row(weight, target.as<char>() + bytes_of(weight, i), dtype, source, i * stride);
  });
  target.commit();
}

// From memory of a device that is not the host.
void write_device_rows(const rora_weight& weight, int64_t row, int64_t rows, rora_dtype dtype,
                       const void* source, int64_t stride) {
  rora_context& context = *weight.context;
  if (dtype != RORA_F16) {
    context.device->write_weight(context, weight, row, rows, dtype, source, stride);
    return;
  }
  // No kernel reads half precision: these rows pass through the host.
  const int64_t elements = (rows - 1) * stride + weight.in_features;
  const HostRead host(context, source, product_or_max(elements, element_bytes(dtype)));
  write_rows(weight, row, rows, dtype, host.as<void>(), stride);
}

void read_rows(const rora_weight& weight, int64_t row, int64_t rows, float* target,
               int64_t stride) {
  const HostRead source(*weight.context, row_data(weight, row), bytes_of(weight, rows));
  for_rows(weight, rows, [&](int64_t i) {
    for (int64_t k = 0; k < weight.in_features; ++k)
      target[i * stride + k] = source_at(source.as<void>(), weight.dtype, i * weight.pitch + k);
  });
}

int64_t master_bytes(const rora_weight& weight) {
  return weight.out_features * weight.in_features * int64_t(sizeof(float));
}

}  // namespace

std::vector<double> row_squares(const rora_weight& weight) {
  const HostRead source(*weight.context, weight.data, bytes_of(weight, weight.out_features));
  std::vector<double> squares(static_cast<size_t>(weight.out_features));
  for_rows(weight, weight.out_features, [&](int64_t i) {
    double sum = 0;
    for (int64_t k = 0; k < weight.in_features; ++k) {
      const double value = double(source_at(source.as<void>(), weight.dtype, i * weight.pitch + k));
      sum += value * value;
    }
    squares[static_cast<size_t>(i)] = sum;
  });
  return squares;
}

}  // namespace rora

using namespace rora;

rora_status rora_weight_create(rora_context* context, rora_dtype dtype, int64_t out_features,
                               int64_t in_features, rora_weight** weight) {
  return guard([&] {
    RORA_REQUIRE(context != nullptr && weight != nullptr, "context and weight must not be NULL");
    RORA_REQUIRE(dtype == RORA_F32 || dtype == RORA_BF16,
                 "dtype=%d: a weight is stored as RORA_F32 or RORA_BF16", int(dtype));
    RORA_REQUIRE(out_features >= 1 && in_features >= 1 && out_features <= INT32_MAX &&
                     in_features <= INT32_MAX,
                 "weight [%lld, %lld]: both sizes must be 1 .. 2^31 - 1",
                 static_cast<long long>(out_features), static_cast<long long>(in_features));
    auto fresh = std::make_unique<rora_weight>();
    const int64_t pitch = round_up(in_features, context->device->row_elements);
    *fresh = {context, dtype,          out_features, in_features, pitch,
              nullptr, next_version(), nullptr,      nullptr};
    fresh->data = context->device->allocate_weight(*context, bytes_of(*fresh, out_features));
    *weight = fresh.release();
  });
}

void rora_weight_destroy(rora_weight* weight) {
  if (weight == nullptr) return;
  rora_context& context = *weight->context;
  context.device->release_weight(context, weight->data, bytes_of(*weight, weight->out_features));
  delete weight;
}

rora_status rora_weight_write(rora_weight* weight, int64_t row, int64_t rows,
                              rora_dtype source_dtype, const void* source, int64_t stride) {
  return guard([&] {
    check_rows(weight, row, rows, source, stride);
    RORA_REQUIRE(source_dtype == RORA_F32 || source_dtype == RORA_BF16 || source_dtype == RORA_F16,
                 "source_dtype=%d: must be RORA_F32, RORA_BF16 or RORA_F16", int(source_dtype));
    if (rows == 0) return;
    weight->version = next_version();
    const Device& device = *weight->context->device;
    if (!device.on_host && device.reaches(*weight->context, source))
      write_device_rows(*weight, row, rows, source_dtype, source, stride);
    else
      write_rows(*weight, row, rows, source_dtype, source, stride);
  });
}

rora_status rora_weight_read(const rora_weight* weight, int64_t row, int64_t rows, float* target,
                             int64_t stride) {
  return guard([&] {
    check_rows(weight, row, rows, target, stride);
    read_rows(*weight, row, rows, target, stride);
  });
}

rora_status rora_weight_train(rora_weight* weight, float* master, float* gradient) {
  return guard([&] {
    RORA_REQUIRE(weight != nullptr, "weight is NULL");
    RORA_REQUIRE((master == nullptr) == (gradient == nullptr),
                 "master and gradient must be both given or both NULL");
    weight->master = master;
    weight->gradient = gradient;
  });
}

rora_status rora_weight_refresh(rora_weight* weight) {
  return guard([&] {
    RORA_REQUIRE(weight != nullptr && weight->master != nullptr,
                 "the weight is not trained: call rora_weight_train first");
    weight->version = next_version();
    const HostRead master(*weight->context, weight->master, master_bytes(*weight));
    write_rows(*weight, 0, weight->out_features, RORA_F32, master.as<float>(), weight->in_features);
  });
}

rora_status rora_weight_to_master(const rora_weight* weight) {
  return guard([&] {
    RORA_REQUIRE(weight != nullptr && weight->master != nullptr,
                 "the weight is not trained: call rora_weight_train first");
    const HostWrite master(*weight->context, weight->master, master_bytes(*weight));
    read_rows(*weight, 0, weight->out_features, master.as<float>(), weight->in_features);
    master.commit();
  });
}

rora_status rora_weight_row_norms(const rora_weight* weight, float* norms) {
  return guard([&] {
    RORA_REQUIRE(weight != nullptr && norms != nullptr, "weight and norms must not be NULL");
    const std::vector<double> squares = row_squares(*weight);
    for (size_t n = 0; n < squares.size(); ++n) norms[n] = float(std::sqrt(squares[n]));
  });
}
