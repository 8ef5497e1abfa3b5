// What the tests of layers share: activations and packed batches as values, and every case on every
// level in fp32 and bf16.
#pragma once

#include <algorithm>

#include "api/device.h"
#include "cpu/panel.h"
#include "testing.h"

namespace rora::testing {

// A context on one level with one type of activations; `name` says which in failures.
struct Case {
  rora_context* context;
  rora_dtype dtype;
  std::string name;
};

// Runs body(case) on every level of the machine, for fp32 and bf16.
template <class Body>
void on_every_level(const Body& body, int threads = 2) {
  for (const std::string& level : levels())
    for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) {
      Context context(level, threads);
      body(Case{context, dtype, level + (dtype == RORA_F32 ? " f32 " : " bf16 ")});
    }
}

#define EXPECT_CASE(name, found, expected, bound)                                          \
  ::rora::testing::expect_within(__FILE__, __LINE__, ((name) + " " #found).c_str(), found, \
                                 expected, bound)

// Token counts that no panel of 64 divides, and those that it does.
inline const std::vector<int64_t>& token_counts() {
  static const std::vector<int64_t> counts = {1, 63, 64, 65, 130};
  return counts;
}

// An activation with row-major values; wholly zero unless given.
class Tensor {
 public:
  Tensor(rora_context* context, rora_dtype dtype, int64_t tokens, int64_t width,
         const std::vector<float>& values = {}, int64_t max_tokens = 0) {
    rora_status status = rora_activation_create(
        context, dtype, std::max<int64_t>({max_tokens, tokens, 1}), width, 0, &activation_);
    if (status == RORA_OK) status = rora_activation_resize(activation_, tokens);
    if (status == RORA_OK && !values.empty())
      status = rora_activation_write(activation_, 0, width, values.data(), width);
    if (status != RORA_OK) {
      report_failure(__FILE__, __LINE__, rora_last_error());
      std::exit(1);
    }
  }
  ~Tensor() { rora_activation_destroy(activation_); }
  Tensor(const Tensor&) = delete;
  Tensor& operator=(const Tensor&) = delete;
  operator rora_activation*() const { return activation_; }

  std::vector<float> values() const {
    const int64_t tokens = activation_->tokens, width = activation_->width;
    std::vector<float> result(static_cast<size_t>(tokens * width));
    EXPECT_OK(rora_activation_read(activation_, 0, tokens, 0, width, result.data(), width));
    return result;
  }

  // Writes a value into the lanes past the last token, which operators must not depend on.
  void spoil_unused_lanes(float value) {
    for_padding([&](int64_t t, int64_t row) {
      if (row < activation_->width) set(*activation_, t, row, value);
    });
  }

  // Whether those lanes and the row that an odd width leaves over are zero.
  bool padding_is_zero() const {
    bool zero = true;
    for_padding([&](int64_t t, int64_t row) { zero = zero && get(*activation_, t, row) == 0.0f; });
    return zero;
  }

 private:
  // Other devices have another layout, whose padding their own tests look at.
  template <class Body>
  void for_padding(const Body& body) const {
    if (!activation_->context->device->on_host) return;
    for (int64_t t = 0; t < panels(activation_->tokens) * kPanel; ++t)
      for (int64_t row = 0; row < even(activation_->width); ++row)
        if (t >= activation_->tokens || row >= activation_->width) body(t, row);
  }

  rora_activation* activation_ = nullptr;
};

// A batch of documents of these lengths, one after the other.
class Packed {
 public:
  std::vector<int32_t> ids, labels, positions, begins;

  explicit Packed(const std::vector<int>& lengths) {
    for (const int length : lengths) {
      const int32_t begin = int32_t(positions.size());
      for (int32_t i = 0; i < length; ++i) positions.push_back(i), begins.push_back(begin);
    }
    ids.assign(positions.size(), 0);
    labels.assign(positions.size(), -100);
  }
  int64_t tokens() const { return int64_t(positions.size()); }
};

// Documents of many lengths that are `tokens` long together.
inline std::vector<int> document_lengths(int64_t tokens) {
  const int pattern[] = {5, 40, 1, 30, 70, 2, 90};
  std::vector<int> lengths;
  for (int i = 0; tokens > 0; ++i) {
    lengths.push_back(int(std::min<int64_t>(tokens, pattern[i % 7])));
    tokens -= lengths.back();
  }
  return lengths;
}

// The native batch of a Packed.
class Batch {
 public:
  Batch(rora_context* context, const Packed& packed) {
    EXPECT_OK(rora_batch_create(context, std::max<int64_t>(1, packed.tokens()), &batch_));
    EXPECT_OK(rora_batch_fill(batch_, packed.tokens(), packed.ids.data(), packed.labels.data(),
                              packed.positions.data(), packed.begins.data(), nullptr));
  }
  ~Batch() { rora_batch_destroy(batch_); }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;
  operator rora_batch*() const { return batch_; }

 private:
  rora_batch* batch_ = nullptr;
};

// A weight from row-major floats.
class Matrix {
 public:
  Matrix(rora_context* context, rora_dtype dtype, int64_t rows, int64_t columns,
         const std::vector<float>& values) {
    EXPECT_OK(rora_weight_create(context, dtype, rows, columns, &weight_));
    EXPECT_OK(rora_weight_write(weight_, 0, rows, RORA_F32, values.data(), columns));
  }
  ~Matrix() { rora_weight_destroy(weight_); }
  Matrix(const Matrix&) = delete;
  Matrix& operator=(const Matrix&) = delete;
  operator rora_weight*() const { return weight_; }

 private:
  rora_weight* weight_ = nullptr;
};

inline std::vector<double> as_double(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

constexpr double kFloatHalf = 0x1p-24;  // half a unit in the last place, relative
constexpr double kBf16Half = 0x1p-9;

// Twice the error of rounding one result to the activations' type; nothing in fp32, whose roundings
// are counted among the terms.
inline double storage_bound(rora_dtype dtype, double value) {
  return dtype == RORA_BF16 ? 2 * kBf16Half * std::fabs(value) : 0.0;
}

// The derivative of f with respect to values[i].
template <class Function>
double central_difference(const Function& f, std::vector<double> values, size_t i) {
  const double centre = values[i], h = 1e-5;
  values[i] = centre + h;
  const double above = f(values);
  values[i] = centre - h;
  return (above - f(values)) / (2 * h);
}

}  // namespace rora::testing
