#include "testing.h"

#include <cstdio>
#include <cstring>

#include "cpu/panel.h"

namespace rora::testing {
namespace {

struct Test {
  const char* name;
  void (*body)();
};

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}

int failures = 0;
constexpr int kShown = 20;  // failures of one test that are printed

}  // namespace

Registration::Registration(const char* name, void (*body)()) { tests().push_back({name, body}); }

void report_failure(const char* file, int line, const std::string& message) {
  if (++failures <= kShown) std::printf("%s:%d: %s\n", file, line, message.c_str());
  if (std::getenv("RORA_TEST_STOP") == nullptr) return;
  std::fflush(stdout);
  std::_Exit(1);
}

void expect_within(const char* file, int line, const char* what, const std::vector<float>& found,
                   const std::vector<double>& expected,
                   const std::function<double(size_t)>& bound) {
  if (found.size() != expected.size()) {
    report_failure(file, line,
                   std::string(what) + ": " + std::to_string(found.size()) + " values, expected " +
                       std::to_string(expected.size()));
    return;
  }
  for (size_t i = 0; i < found.size(); ++i) {
    const double error = std::fabs(double(found[i]) - expected[i]);
    if (error <= bound(i)) continue;  // NaN fails
    char text[256];
    std::snprintf(text, sizeof text, "%s[%zu] = %.9g, expected %.9g, off by %.3g, bound %.3g", what,
                  i, double(found[i]), expected[i], error, bound(i));
    report_failure(file, line, text);
    return;
  }
}

void expect_same_bits(const char* file, int line, const char* what, const std::vector<float>& found,
                      const std::vector<float>& expected) {
  if (found.size() != expected.size()) {
    report_failure(file, line, std::string(what) + ": different sizes");
    return;
  }
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::memcmp(&found[i], &expected[i], sizeof(float)) == 0) continue;
    char text[256];
    std::snprintf(text, sizeof text, "[%zu] = %a, expected the bits of %a", i, double(found[i]),
                  double(expected[i]));
    report_failure(file, line, std::string(what) + text);
    return;
  }
}

const std::vector<std::string>& levels() {
  static const std::vector<std::string> found = [] {
    if (std::getenv("RORA_TEST_DEVICE") != nullptr)
      return std::vector<std::string>{"reference", std::getenv("RORA_TEST_DEVICE")};
    std::vector<std::string> names;
    for (const char* name : {"reference", "portable", "avx2", "avx512", "avx512bf16", "amx"}) {
      Context context(name);
      if (std::strcmp(rora_context_isa(context), name) == 0) names.push_back(name);
    }
    return names;
  }();
  return found;
}

Context::Context(const std::string& level, int threads) {
  const bool is_device = level == "simt" || level == "cuda";
  if (!is_device) setenv("RORA_MAX_ISA", level.c_str(), 1);
  if (const char* folder = std::getenv("RORA_TEST_BACKENDS")) rora_backend_folder(folder);
  const rora_status status =
      rora_context_open(is_device ? level.c_str() : "cpu", threads, &context_);
  unsetenv("RORA_MAX_ISA");
  if (status != RORA_OK) {
    std::printf("no context for %s: %s\n", level.c_str(), rora_last_error());
    std::exit(level == "cuda" ? kSkipped : 1);
  }
}

Floats::Floats(rora_context* context, int64_t count) : context_(context), count_(count) {
  void* memory = nullptr;
  if (rora_alloc(context, count * 4, &memory) != RORA_OK) std::exit(1);
  data_ = static_cast<float*>(memory);
}

Floats::Floats(rora_context* context, const std::vector<float>& values)
    : Floats(context, int64_t(values.size())) {
  write(values);
}

void Floats::write(const std::vector<float>& values) const {
  if (values.empty()) return;
  EXPECT_OK(rora_upload(context_, data_, values.data(), int64_t(values.size()) * 4));
}

std::vector<float> Floats::values() const {
  std::vector<float> values(static_cast<size_t>(count_));
  if (count_ > 0) EXPECT_OK(rora_download(context_, values.data(), data_, count_ * 4));
  return values;
}

std::vector<float> Random::normal(int64_t count, float deviation) {
  std::normal_distribution<float> distribution(0.0f, deviation);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = distribution(engine_);
  return values;
}

std::vector<float> Random::integers(int64_t count, int limit) {
  std::uniform_int_distribution<int> distribution(-limit, limit);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = float(distribution(engine_));
  return values;
}

int Random::below(int limit) { return std::uniform_int_distribution<int>(0, limit - 1)(engine_); }

float rounded_to_bf16(float value) { return bf16_to_float(float_to_bf16(value)); }

std::vector<float> rounded(const std::vector<float>& values, rora_dtype dtype) {
  std::vector<float> result = values;
  if (dtype == RORA_BF16)
    for (float& value : result) value = rounded_to_bf16(value);
  return result;
}

}  // namespace rora::testing

// Under AddressSanitizer, too, memory that cannot be had is a NULL and not the end of the process.
extern "C" __attribute__((visibility("default"))) const char* __asan_default_options();
extern "C" const char* __asan_default_options() { return "allocator_may_return_null=1"; }

int main(int argc, char** argv) {
  int run = 0, failed = 0;
  for (const auto& test : rora::testing::tests()) {
    if (argc > 1 && std::strstr(test.name, argv[1]) == nullptr) continue;
    rora::testing::failures = 0;
    test.body();
    ++run;
    if (rora::testing::failures > 0) {
      ++failed;
      std::printf("FAILED %s: %d failed expectations\n", test.name, rora::testing::failures);
    }
  }
  std::printf("%d passed, %d failed\n", run - failed, failed);
  return run == 0 || failed > 0 ? 1 : 0;
}
