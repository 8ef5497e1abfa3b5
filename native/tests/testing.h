// A test harness without dependencies: TEST(name) { ... EXPECT_... } in any number, main() in
// testing.cpp. A failed expectation prints where, the values and the bound, and the test goes on;
// the executable's exit code says whether all passed. With an argument only tests whose name
// contains it run. With RORA_TEST_STOP set the first failed expectation is the end.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "rora/rora.h"

namespace rora::testing {

struct Registration {
  Registration(const char* name, void (*body)());
};

// Reports a failure; `message` says what was expected and what was found.
void report_failure(const char* file, int line, const std::string& message);

#define TEST(name)                                                             \
  static void name();                                                          \
  static const ::rora::testing::Registration registration_##name(#name, name); \
  static void name()

#define EXPECT(condition)                                                                          \
  do {                                                                                             \
    if (!(condition)) ::rora::testing::report_failure(__FILE__, __LINE__, "expected " #condition); \
  } while (0)

#define EXPECT_OK(call)                                                             \
  do {                                                                              \
    if ((call) != RORA_OK)                                                          \
      ::rora::testing::report_failure(__FILE__, __LINE__,                           \
                                      std::string(#call ": ") + rora_last_error()); \
  } while (0)

// The call fails with `status` and its message contains `text`.
#define EXPECT_ERROR(call, status, text)                                                      \
  do {                                                                                        \
    const rora_status found_ = (call);                                                        \
    if (found_ != (status) || std::string(rora_last_error()).find(text) == std::string::npos) \
      ::rora::testing::report_failure(__FILE__, __LINE__,                                     \
                                      #call ": status " + std::to_string(found_) +            \
                                          ", message \"" + rora_last_error() +                \
                                          "\"; expected " #status " and \"" + (text) + "\""); \
  } while (0)

// found[i] equals expected[i] within bound(i), which may be 0. The first element that does not is
// reported with its index, both values and the bound.
void expect_within(const char* file, int line, const char* what, const std::vector<float>& found,
                   const std::vector<double>& expected, const std::function<double(size_t)>& bound);
// The same bits.
void expect_same_bits(const char* file, int line, const char* what, const std::vector<float>& found,
                      const std::vector<float>& expected);

#define EXPECT_WITHIN(found, expected, bound) \
  ::rora::testing::expect_within(__FILE__, __LINE__, #found, found, expected, bound)
#define EXPECT_SAME_BITS(found, expected) \
  ::rora::testing::expect_same_bits(__FILE__, __LINE__, #found, found, expected)

// The instruction sets this machine has, `reference` first; with RORA_TEST_DEVICE (simt, cuda) set,
// the reference and that device, so that the operators' tests are tests of any backend.
const std::vector<std::string>& levels();

// A context on one level, with RORA_MAX_ISA set while it opens, or on a device of that name, whose
// library is looked for in RORA_TEST_BACKENDS if set. Where there is no GPU the process ends with
// kSkipped.
class Context {
 public:
  explicit Context(const std::string& level, int threads = 2);
  ~Context() { rora_context_close(context_); }
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  operator rora_context*() const { return context_; }

 private:
  rora_context* context_ = nullptr;
};

// The exit code of a test that this machine cannot run, which CTest calls skipped.
constexpr int kSkipped = 77;

// Zeroed floats of a context, freed with the object. The host may not reach the memory of a device
// in place: it is written and read by copies.
class Floats {
 public:
  Floats(rora_context* context, int64_t count);
  Floats(rora_context* context, const std::vector<float>& values);
  ~Floats() { rora_free(context_, data_); }
  Floats(const Floats&) = delete;
  Floats& operator=(const Floats&) = delete;
  float* get() const { return data_; }
  void write(const std::vector<float>& values) const;  // the first ones
  std::vector<float> values() const;

 private:
  rora_context* context_;
  float* data_ = nullptr;
  int64_t count_;
};

// Random numbers from a seed, which main() prints when a test fails.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  std::vector<float> normal(int64_t count, float deviation = 1.0f);
  // Whole numbers of at most `limit` in absolute value: sums of their products are exact in float.
  std::vector<float> integers(int64_t count, int limit);
  int below(int limit);

 private:
  std::mt19937_64 engine_;
};

// The value rounded to bf16 and back.
float rounded_to_bf16(float value);
std::vector<float> rounded(const std::vector<float>& values, rora_dtype dtype);

}  // namespace rora::testing
