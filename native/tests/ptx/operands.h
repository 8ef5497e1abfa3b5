// What the cases of the families share: operands in global memory and their comparison.
#pragma once

#include <algorithm>
#include <type_traits>

#include "cases.h"
#include "cuda/device.h"

namespace rora::testing {

using cuda::bf16;
using cuda::round_one;
using cuda::Stream;
using cuda::widen;
namespace simt = cuda::simt;

constexpr double kFloatHalf = 0x1p-24;  // half a unit in the last place, relative
constexpr double kBf16Half = 0x1p-8;

template <class T>
constexpr double kHalf = std::is_same_v<T, float> ? kFloatHalf : kBf16Half;

inline void put(float value, float& target) { target = value; }
inline void put(float value, bf16& target) { target = round_one(value); }

template <class T>
float rounded(double value) {
  T stored;
  put(float(value), stored);
  return widen(stored);
}

// Random values: whole numbers from -3 to 3, or normal ones.
class Values {
 public:
  Values(uint64_t seed, bool whole) : source_(seed), whole_(whole) {}

  float next() {
    if (whole_) return float(source_.random() % 7) - 3.0f;
    // Marsaglia's polar method without its second value.
    while (true) {
      const double x = unit(), y = unit(), square = x * x + y * y;
      if (square >= 1 || square == 0) continue;
      return float(x * std::sqrt(-2 * std::log(square) / square));
    }
  }
  int64_t below(int64_t limit) { return int64_t(source_.random() % uint64_t(limit)); }

 private:
  double unit() { return double(source_.random() >> 11) * 0x1p-52 - 1; }

  simt::Stream source_;  // for its generator
  bool whole_;
};

// [rows, columns] of T in global memory, the pitch a multiple of 8 elements. Padding is NaN.
template <class T>
class Matrix {
 public:
  Matrix(int64_t rows, int64_t columns, const char* name)
      : rows_(rows),
        columns_(columns),
        pitch_((columns + 7) / 8 * 8),
        memory_(size_t(std::max<int64_t>(rows * pitch_, 1)), name) {}

  void fill(Values& values) { fill(values, columns_); }
  void fill(Values& values, int64_t columns) {
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t c = 0; c < columns; ++c) put(values.next(), *at(r, c));
  }
  void fill(float value) {
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t c = 0; c < columns_; ++c) put(value, *at(r, c));
  }
  void set(int64_t row, int64_t column, float value) { put(value, *at(row, column)); }

  T* data() { return memory_.data(); }
  T* at(int64_t row, int64_t column) { return memory_.data() + row * pitch_ + column; }
  double get(int64_t row, int64_t column) const {
    return double(widen(memory_[size_t(row * pitch_ + column)]));
  }
  int64_t pitch() const { return pitch_; }

  // Compares columns [first, first + columns) with expected(row, column); bound(row, column) comes
  // on top of the rounding to T.
  template <class Expected, class Bound>
  void check(int64_t first, int64_t columns, CaseResult& result, const Expected& expected,
             const Bound& bound, const std::string& what) const {
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t c = 0; c < columns; ++c) {
        const double e = expected(r, c), error = bound(r, c);
        const std::string where = what + "[" + std::to_string(r) + ", " + std::to_string(c) + "]";
        result.add(where, get(r, first + c), e, double(rounded<T>(e)),
                   error + kHalf<T> * (std::fabs(e) + error));
      }
  }
  // Nobody may write columns from `columns` on.
  void check_padding(CaseResult& result, const std::string& what) const {
    for (int64_t r = 0; r < rows_; ++r)
      for (int64_t c = columns_; c < pitch_; ++c)
        if (!std::isnan(get(r, c)) && result.wrong.empty())
          result.wrong = what + ": the padding of row " + std::to_string(r) + " is overwritten";
  }

 private:
  int64_t rows_, columns_, pitch_;
  simt::Memory<T> memory_;
};

inline bool failed(const char* error, CaseResult& result) {
  if (*error == '\0') return false;
  result.wrong = error;
  result.exact = false;
  return true;
}

}  // namespace rora::testing
