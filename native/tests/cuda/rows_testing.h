// What the tests of kernels over pitched rows share: rows in the emulation's global memory whose
// padding nobody may touch, and the bounds of single roundings.
#pragma once

#include <cstring>
#include <utility>

#include "../testing.h"
#include "cpu/panel.h"
#include "cuda/device.h"
#include "cuda/launch.h"

namespace rora::testing {

using cuda::bf16;
namespace simt = cuda::simt;

constexpr double kFloatHalf = 0x1p-24;  // half a unit in the last place, relative
constexpr double kBf16Half = 0x1p-8;

// The error of rounding a result to T.
template <class T>
double rounding(double value) {
  return (std::is_same_v<T, float> ? kFloatHalf : kBf16Half) * std::fabs(value);
}

inline void convert(float value, float& target) { target = value; }
inline void convert(float value, bf16& target) { target = float_to_bf16(value); }

// The values as T holds them.
template <class T>
std::vector<float> as(const std::vector<float>& values) {
  return rounded(values, std::is_same_v<T, float> ? RORA_F32 : RORA_BF16);
}

inline std::vector<double> as_double(const std::vector<float>& values) {
  return {values.begin(), values.end()};
}

// What a result of T holds of whole numbers.
template <class T>
std::vector<double> stored(T, const std::vector<double>& values) {
  return as_double(as<T>({values.begin(), values.end()}));
}

inline const auto kExact = [](size_t) { return 0.0; };

template <class T>
std::vector<float> as_float(const simt::Memory<T>& memory) {
  return {memory.begin(), memory.end()};
}

inline simt::Memory<float>& fill(simt::Memory<float>& memory, const std::vector<float>& values) {
  std::copy(values.begin(), values.end(), memory.begin());
  return memory;
}

// [rows, width] of T, `pitch` elements apart: all NaN but for what is written.
template <class T>
class Rows {
 public:
  // By default the pitch is as short as a row may have it, and 8 elements more.
  Rows(int64_t rows, int64_t width, const std::vector<float>& values = {}, int64_t pitch = 0)
      : rows_(rows),
        width_(width),
        pitch_(pitch > 0 ? pitch : (width + 7) / 8 * 8 + 8),
        memory_(size_t(rows * pitch_)) {
    if (!values.empty()) write(0, width, values);
  }

  // Columns [column, column + width) as row-major values.
  void write(int64_t column, int64_t width, const std::vector<float>& values) {
    for (int64_t t = 0; t < rows_; ++t)
      for (int64_t j = 0; j < width; ++j)
        convert(values[size_t(t * width + j)], memory_[size_t(t * pitch_ + column + j)]);
  }
  std::vector<float> read(int64_t column, int64_t width) const {
    std::vector<float> values;
    for (int64_t t = 0; t < rows_; ++t)
      for (int64_t j = 0; j < width; ++j)
        values.push_back(cuda::widen(memory_[size_t(t * pitch_ + column + j)]));
    return values;
  }
  std::vector<float> values() const { return read(0, width_); }

  // Whether all bytes outside the columns [first, last) of these pairs are what memory starts with.
  bool untouched_outside(const std::vector<std::pair<int64_t, int64_t>>& columns) const {
    T unwritten;
    std::memset(&unwritten, 0xff, sizeof unwritten);
    for (int64_t i = 0; i < rows_ * pitch_; ++i) {
      bool inside = false;
      for (const auto& [first, last] : columns)
        inside = inside || (i % pitch_ >= first && i % pitch_ < last);
      if (!inside && std::memcmp(&memory_[size_t(i)], &unwritten, sizeof(T)) != 0) return false;
    }
    return true;
  }
  bool padding_survives() const { return untouched_outside({{0, width_}}); }

  T* data() { return memory_.data(); }
  int64_t pitch() const { return pitch_; }

 private:
  int64_t rows_, width_, pitch_;
  simt::Memory<T> memory_;
};

// What a host function returned is "".
#define EXPECT_RUNS(call)                                                         \
  do {                                                                            \
    const std::string finding_ = (call);                                          \
    if (!finding_.empty())                                                        \
      ::rora::testing::report_failure(__FILE__, __LINE__, #call ": " + finding_); \
  } while (0)

// body(T()) for both types of activations.
template <class Body>
void on_both_types(const Body& body) {
  body(float());
  body(bf16());
}

constexpr uint64_t kSeeds[] = {1, 2};  // orders of warps and blocks

}  // namespace rora::testing
