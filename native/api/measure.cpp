#include "rora/measure.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <numeric>
#include <vector>

#include "api/layer_checks.h"
#include "cpu/thread_pool.h"

namespace rora {
namespace {

using Clock = std::chrono::steady_clock;

// All threads are busy for so long, and each notes its best piece of a length that finds the core
// free now and then where others work too.
constexpr double kPeakSeconds = 0.2;
constexpr double kPieceSeconds = 0.001;
constexpr int kStreamPasses = 8;
constexpr int64_t kLeastStream = int64_t(1) << 20;
constexpr int64_t kLeastMemory = int64_t(256) << 20;

template <class Body>
double seconds(const Body& body) {
  const auto begin = Clock::now();
  body();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// One thread's best rate.
double best_peak(const KernelTable& kernels, rora_dtype dtype, const float* start) {
  PeakOp op{};
  op.dtype = dtype, op.rounds = 1000, op.start = start;
  const auto run = [&] { kernels.peak(op); };
  while (seconds(run) < kPieceSeconds) op.rounds *= 2;
  double best = 0;
  for (double left = kPeakSeconds; left > 0;) {
    const double taken = seconds(run);
    best = std::max(best, op.flop / taken);
    left -= taken;
  }
  return best;
}

// Numbers to calculate with, 1 to 1.5 as float and +-1 to +-1.5 as the two bf16 of a pair: the
// clock of some processors depends on how many bits change.
std::vector<float> peak_numbers() {
  std::vector<float> numbers(kPeakFloats);
  uint32_t random = 1;
  for (float& number : numbers) {
    random = random * 1664525u + 1013904223u;
    const uint32_t bits = 0x3f803f80u | (random >> 9 & 0x003f003fu) | (random >> 3 & 0x8000u);
    std::memcpy(&number, &bits, sizeof number);
  }
  return numbers;
}

double measure_peak(rora_context& context, rora_dtype dtype) {
  const std::vector<float> start = peak_numbers();
  std::vector<double> best(size_t(context.pool->threads()));
  parallel(*context.pool, int64_t(best.size()), [&](int64_t i, int32_t) {
    best[size_t(i)] = best_peak(*context.kernels, dtype, start.data());
  });
  return std::accumulate(best.begin(), best.end(), 0.0);
}

int64_t beyond_cache() {
  int64_t cache = 0;
#if defined(_SC_LEVEL3_CACHE_SIZE)
  cache = std::max<int64_t>(sysconf(_SC_LEVEL3_CACHE_SIZE), 0);
#endif
  return std::max(kLeastMemory, 4 * cache);
}

// Device memory of a context, freed with the object.
struct Buffer {
  rora_context* context;
  void* memory;
  Buffer(rora_context* owner, int64_t bytes) : context(owner), memory(allocate(owner, bytes)) {}
  ~Buffer() { release(context, memory); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
};

void require_cpu(const rora_context& context) {
  if (context.kernels->peak == nullptr || context.kernels->stream == nullptr)
    fail(RORA_UNSUPPORTED, "only the CPU is measured: open a context on \"cpu\"");
}

double measure_bandwidth(rora_context& context, int64_t bytes) {
  constexpr int64_t kBlock = kStreamFloats * int64_t(sizeof(float));
  const int64_t whole = bytes / kBlock * kBlock;
  const Buffer buffer(&context, whole);
  std::vector<float> results(size_t(context.pool->threads()));
  StreamOp op{};
  op.count = whole / int64_t(sizeof(float));
  op.values = static_cast<const float*>(buffer.memory), op.results = results.data();
  double best = 0;
  for (int i = 0; i < kStreamPasses; ++i)
    best = std::max(best, double(whole) / seconds([&] { context.kernels->stream(context, op); }));
  return best;
}

}  // namespace
}  // namespace rora

using namespace rora;

rora_status rora_measure_peak(rora_context* context, rora_dtype dtype, double* flops) {
  return guard([&] {
    require_given(context, "context");
    require_given(flops, "flops");
    RORA_REQUIRE(dtype == RORA_F32 || dtype == RORA_BF16,
                 "dtype=%d: must be RORA_F32 or RORA_BF16, the types that kernels compute in",
                 int(dtype));
    require_cpu(*context);
    *flops = measure_peak(*context, dtype);
  });
}

rora_status rora_measure_bandwidth(rora_context* context, int64_t bytes, double* bytes_per_second) {
  return guard([&] {
    require_given(context, "context");
    require_given(bytes_per_second, "bytes_per_second");
    RORA_REQUIRE(bytes == 0 || bytes >= kLeastStream,
                 "bytes=%lld: must be at least 1 MiB (%lld), or 0 for four times the last cache",
                 static_cast<long long>(bytes), static_cast<long long>(kLeastStream));
    require_cpu(*context);
    *bytes_per_second = measure_bandwidth(*context, bytes == 0 ? beyond_cache() : bytes);
  });
}
