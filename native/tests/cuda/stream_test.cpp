// A context on a device and a trainer that has streams and memory of its own: all work goes to the
// stream in use, weights come from either memory, and rows must lie where kernels reach them.
#include <cstring>
#include <filesystem>

#include "tests/handles.h"
#include "tests/simt/simt.h"

using namespace rora::testing;
using rora::cuda::simt::Launch;
using rora::cuda::simt::Stream;

namespace {

constexpr int64_t kTokens = 5, kIn = 6, kOut = 4, kRank = 2;
const std::vector<float> zeros(size_t(kOut* kIn), 0.0f);

// On the emulation, whose library stands in the folder above this executable's.
class EmulatedContext {
 public:
  EmulatedContext() {
    const auto self = std::filesystem::read_symlink("/proc/self/exe");
    EXPECT_OK(rora_backend_folder(self.parent_path().parent_path().c_str()));
    EXPECT_OK(rora_context_open("simt", 1, &context_));
  }
  ~EmulatedContext() { rora_context_close(context_); }
  EmulatedContext(const EmulatedContext&) = delete;
  EmulatedContext& operator=(const EmulatedContext&) = delete;
  operator rora_context*() const { return context_; }

 private:
  rora_context* context_ = nullptr;
};

// A stream that counts launches instead of making them.
struct Counter {
  int launches = 0;
  Stream stream;

  Counter() {
    stream.instead = [this](const Launch&) {
      ++launches;
      return std::string();
    };
  }
};

rora_status forward(rora_context* context, const rora_weight* weight, const float* x,
                    const Floats& y) {
  const Floats a(context, kRank * kIn), b(context, kOut * kRank), h(context, kTokens * kRank);
  return rora_linear_forward_f32(context, weight, kTokens, kRank, 1.0f, x, kIn, a.get(), kIn,
                                 b.get(), kRank, h.get(), kRank, y.get(), kOut);
}

}  // namespace

TEST(workGoesToTheStreamInUse) {
  const EmulatedContext context;
  Counter counter;
  Stream other(7);
  const std::vector<float> w = Random(1).integers(kOut * kIn, 3);
  const auto weight = make_weight(context, RORA_F32, kOut, kIn, w);
  const Floats x(context, Random(2).integers(kTokens * kIn, 3));
  const Floats own(context, kTokens * kOut), callers(context, kTokens * kOut);
  EXPECT_OK(forward(context, weight.get(), x.get(), own));
  EXPECT_OK(rora_context_use_stream(context, &counter.stream));
  EXPECT_OK(forward(context, weight.get(), x.get(), callers));
  EXPECT(counter.launches > 0);
  EXPECT_SAME_BITS(callers.values(), std::vector<float>(size_t(kTokens * kOut), 0.0f));
  const int launches = counter.launches;
  EXPECT_OK(rora_context_use_stream(context, &other));
  EXPECT_OK(forward(context, weight.get(), x.get(), callers));
  EXPECT_SAME_BITS(callers.values(), own.values());
  EXPECT_OK(rora_context_use_stream(context, nullptr));
  EXPECT_OK(forward(context, weight.get(), x.get(), callers));
  EXPECT_SAME_BITS(callers.values(), own.values());
  EXPECT(counter.launches == launches);
}

TEST(weightsComeFromHostOrDeviceMemory) {
  const EmulatedContext context;
  constexpr int64_t stride = kIn + 3;
  std::vector<float> source = Random(3).normal(kOut * stride);
  for (float& value : source) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    bits &= ~0x40004000u;  // so that nothing is NaN, read as whatever type
    std::memcpy(&value, &bits, 4);
  }
  const Floats device(context, source);
  for (const rora_dtype stored : {RORA_F32, RORA_BF16})
    for (const rora_dtype type : {RORA_F32, RORA_BF16, RORA_F16}) {
      const auto from_host = make_weight(context, stored, kOut, kIn, zeros);
      const auto from_device = make_weight(context, stored, kOut, kIn, zeros);
      EXPECT_OK(rora_weight_write(from_host.get(), 1, kOut - 1, type, source.data(), stride));
      EXPECT_OK(rora_weight_write(from_device.get(), 1, kOut - 1, type, device.get(), stride));
      std::vector<float> expected(size_t(kOut * kIn)), found(expected);
      EXPECT_OK(rora_weight_read(from_host.get(), 0, kOut, expected.data(), kIn));
      EXPECT_OK(rora_weight_read(from_device.get(), 0, kOut, found.data(), kIn));
      EXPECT_SAME_BITS(found, expected);
    }
}

TEST(rowsTheDeviceCannotReachAreRefused) {
  const EmulatedContext context;
  const auto weight = make_weight(context, RORA_F32, kOut, kIn, zeros);
  const std::vector<float> host(size_t(kTokens * kIn));
  const Floats y(context, kTokens * kOut);
  EXPECT_ERROR(forward(context, weight.get(), host.data(), y), RORA_INVALID_ARGUMENT,
               "is no address on the context's GPU");
}
