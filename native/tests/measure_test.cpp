#include <vector>

#include "api/objects.h"
#include "handles.h"

using namespace rora;
using namespace rora::testing;

namespace {

double peak_of(rora_context* context, rora_dtype dtype) {
  double flops = -1;
  EXPECT_OK(rora_measure_peak(context, dtype, &flops));
  return flops;
}

}  // namespace

// s = s / 2 + 1 from 1 on is 2 - 2^-n, 2 for a float after 24 rounds; the bf16 products are of ones
// and halves and grow with each round. No sum that is computed stays where it started.
TEST(loopsComputeWhatTheyCount) {
  for (const std::string& level : levels())
    for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) {
      const Context context(level, 1);
      const KernelTable& kernels = *static_cast<rora_context*>(context)->kernels;
      const std::vector<float> start(kPeakFloats, 1.0f);
      PeakOp once{}, twice{};
      once.dtype = twice.dtype = dtype;
      once.start = twice.start = start.data();
      once.rounds = 100, twice.rounds = 200;
      kernels.peak(once);
      kernels.peak(twice);
      EXPECT(once.flop > 0 && twice.flop == 2 * once.flop);
      if (twice.result == once.result) {
        // The float loop at its fixed point: every sum is 2.
        EXPECT(once.result > 0 && std::fmod(once.result, 2) == 0);
      } else {
        EXPECT(dtype == RORA_BF16 && twice.result > once.result);
      }
    }
}

TEST(streamReadsEveryFloat) {
  for (const std::string& level : levels())
    for (int threads = 1; threads <= 3; ++threads) {
      const Context context(level, threads);
      rora_context* c = context;
      const int64_t count = 7 * kStreamFloats;
      const Floats values(context, Random(7).integers(count, 9));
      double expected = 0;
      for (const float v : values.values()) expected += double(v);
      std::vector<float> results(size_t(threads), 0.0f);
      StreamOp op{};
      op.count = count, op.values = values.get(), op.results = results.data();
      c->kernels->stream(*c, op);
      double found = 0;
      for (const float v : results) found += double(v);
      EXPECT(found == expected);
    }
}

// No processor reaches 100 TFLOP/s on one thread, and none is as slow as 10 MFLOP/s: the orders of
// magnitude that a loop removed by the compiler, or a wrong unit, would miss.
TEST(peakIsOfTheRightOrder) {
  for (const std::string& level : levels()) {
    const Context context(level, 1);
    for (const rora_dtype dtype : {RORA_F32, RORA_BF16}) {
      const double flops = peak_of(context, dtype);
      EXPECT(flops > 1e7 && flops < 1e14);
    }
  }
}

TEST(vectorsRaiseThePeak) {
  const std::string best = levels().back();
  if (best == "reference" || best == "portable") return;
  const Context vectors(best, 1), plain("reference", 1);
  EXPECT(peak_of(vectors, RORA_F32) > 2 * peak_of(plain, RORA_F32));
}

TEST(bandwidthIsOfTheRightOrderAndGivesItsMemoryBack) {
  for (const std::string& level : levels()) {
    const Context context(level);
    double found = -1;
    EXPECT_OK(rora_measure_bandwidth(context, int64_t(8) << 20, &found));
    EXPECT(found > 1e7 && found < 1e14);
    EXPECT(rora_context_bytes(context) == 0);
  }
}

TEST(wrongArgumentsOfMeasurementsAreRefused) {
  const Context context("reference");
  double found = -1;
  EXPECT_ERROR(rora_measure_peak(nullptr, RORA_F32, &found), RORA_INVALID_ARGUMENT, "context");
  EXPECT_ERROR(rora_measure_peak(context, RORA_F32, nullptr), RORA_INVALID_ARGUMENT, "flops");
  EXPECT_ERROR(rora_measure_peak(context, RORA_F16, &found), RORA_INVALID_ARGUMENT,
               "must be RORA_F32 or RORA_BF16");
  EXPECT_ERROR(rora_measure_bandwidth(nullptr, 0, &found), RORA_INVALID_ARGUMENT, "context");
  EXPECT_ERROR(rora_measure_bandwidth(context, 0, nullptr), RORA_INVALID_ARGUMENT,
               "bytes_per_second");
  EXPECT_ERROR(rora_measure_bandwidth(context, 1000, &found), RORA_INVALID_ARGUMENT,
               "bytes=1000: must be at least 1 MiB");
  EXPECT_ERROR(rora_measure_bandwidth(context, -1, &found), RORA_INVALID_ARGUMENT, "bytes=-1");
  EXPECT_ERROR(rora_measure_bandwidth(context, int64_t(1) << 60, &found), RORA_OUT_OF_MEMORY,
               "out of memory");
  EXPECT(found == -1);
}
