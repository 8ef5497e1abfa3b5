#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "cpu/cpuid.h"
#include "cpu/thread_pool.h"
#include "handles.h"

using namespace rora::testing;

namespace {

// Sets RORA_MAX_ISA while it lives.
class Cap {
 public:
  explicit Cap(const char* value) { setenv("RORA_MAX_ISA", value, 1); }
  ~Cap() { unsetenv("RORA_MAX_ISA"); }
  Cap(const Cap&) = delete;
  Cap& operator=(const Cap&) = delete;
};

std::string isa_under(const char* cap) {
  const Cap set(cap);
  rora_context* context = nullptr;
  EXPECT_OK(rora_context_open("cpu", 1, &context));
  const std::string isa = rora_context_isa(context);
  rora_context_close(context);
  return isa;
}

}  // namespace

TEST(unknownInstructionSetIsAnError) {
  for (const char* value : {"avx", "AVX2", "avx512 ", "sse2", "best"}) {
    const Cap set(value);
    rora_context* context = nullptr;
    EXPECT_ERROR(rora_context_open("cpu", 1, &context), RORA_INVALID_ARGUMENT,
                 "must be reference, portable, avx2, avx512, avx512bf16 or amx");
    EXPECT(std::strstr(rora_last_error(), value) != nullptr);
    EXPECT(context == nullptr);
  }
}

TEST(instructionSetIsTheBestUnderTheCap) {
  EXPECT(isa_under("reference") == "reference");
  EXPECT(isa_under("portable") == "portable");
  // A level that the machine lacks falls back to the best below.
  const char* names[] = {"reference", "portable", "avx2", "avx512", "avx512bf16", "amx"};
  for (const char* cap : names) {
    std::string best;
    for (const char* name : names) {
      for (const std::string& level : levels())
        if (level == name) best = name;
      if (std::strcmp(name, cap) == 0) break;
    }
    EXPECT(isa_under(cap) == best);
  }
  EXPECT(isa_under("") == levels().back());
}

TEST(levelsAreThoseOfTheProcessor) {
  const auto has = [](const char* name) {
    for (const std::string& level : levels())
      if (level == name) return true;
    return false;
  };
  EXPECT(has("avx2") == rora::cpu_features().avx2);
  EXPECT(has("avx512") == rora::cpu_features().avx512);
  EXPECT(has("avx512bf16") == rora::cpu_features().avx512bf16);
  EXPECT(has("amx") == rora::cpu_features().amx);
  EXPECT(rora_cpu_features() != nullptr);
}

TEST(unknownDevicesAreRefused) {
  rora_context* context = nullptr;
  EXPECT_ERROR(rora_context_open("gpu", 1, &context), RORA_INVALID_ARGUMENT, "device \"gpu\"");
  EXPECT_ERROR(rora_context_open(nullptr, 1, &context), RORA_INVALID_ARGUMENT, "device is NULL");
  EXPECT_ERROR(rora_context_open("cpu", -1, &context), RORA_INVALID_ARGUMENT, "threads=-1");
  EXPECT_ERROR(rora_context_open("cpu", 1, nullptr), RORA_INVALID_ARGUMENT, "context is NULL");
  EXPECT(context == nullptr);
}

TEST(threadsAreThoseAskedForOrOneForEachCore) {
  for (int threads = 0; threads <= 3; ++threads) {
    const Context context("reference", threads);
    const int cores = int(std::thread::hardware_concurrency());
    EXPECT(rora_context_threads(context) == (threads > 0 ? threads : cores > 0 ? cores : 1));
  }
}

TEST(memoryIsAlignedZeroedAndCounted) {
  const Context context("reference");
  for (const int64_t bytes : {int64_t(1), int64_t(64), int64_t(1000), int64_t(9) << 20}) {
    void* memory = nullptr;
    EXPECT_OK(rora_alloc(context, bytes, &memory));
    EXPECT(reinterpret_cast<uintptr_t>(memory) % 64 == 0);
    EXPECT(rora_context_bytes(context) == bytes);
    bool zero = true;
    for (int64_t i = 0; i < bytes; ++i) zero = zero && static_cast<char*>(memory)[i] == 0;
    EXPECT(zero);
    std::memset(memory, 1, size_t(bytes));
    rora_free(context, memory);
    EXPECT(rora_context_bytes(context) == 0);
  }
}

TEST(zeroBytesAreLegalAndNullIsFreed) {
  const Context context("reference");
  void* memory = nullptr;
  EXPECT_OK(rora_alloc(context, 0, &memory));
  EXPECT(memory != nullptr);
  rora_free(context, memory);
  rora_free(context, nullptr);
  rora_context_close(nullptr);
}

TEST(impossibleAllocationsAreRefused) {
  const Context context("reference");
  void* memory = nullptr;
  EXPECT_ERROR(rora_alloc(context, -1, &memory), RORA_INVALID_ARGUMENT,
               "bytes=-1: must not be negative");
  EXPECT_ERROR(rora_alloc(context, int64_t(1) << 60, &memory), RORA_OUT_OF_MEMORY, "out of memory");
  EXPECT_ERROR(rora_alloc(context, INT64_MAX, &memory), RORA_OUT_OF_MEMORY, "out of memory");
  EXPECT_ERROR(rora_alloc(context, 1, nullptr), RORA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(rora_alloc(nullptr, 1, &memory), RORA_INVALID_ARGUMENT, "NULL");
  EXPECT(memory == nullptr && rora_context_bytes(context) == 0);
}

TEST(uploadAndDownloadCopy) {
  const Context context("reference");
  const Floats device(context, 5);
  const std::vector<float> source = {1, 2, 3, 4, 5};
  std::vector<float> target(5);
  EXPECT_OK(rora_upload(context, device.get(), source.data(), 20));
  EXPECT_OK(rora_download(context, target.data(), device.get(), 16));
  EXPECT_SAME_BITS(target, (std::vector<float>{1, 2, 3, 4, 0}));
  EXPECT_ERROR(rora_upload(context, device.get(), nullptr, 20), RORA_INVALID_ARGUMENT, "NULL");
  EXPECT_ERROR(rora_download(context, target.data(), device.get(), -1), RORA_INVALID_ARGUMENT,
               "bytes=-1");
}

TEST(streamsOnTheCpuAreRefusedButForItsOwn) {
  const Context context("reference");
  EXPECT_OK(rora_context_use_stream(context, nullptr));
  int other = 0;
  EXPECT_ERROR(rora_context_use_stream(context, &other), RORA_UNSUPPORTED,
               "the CPU has no streams");
  EXPECT_ERROR(rora_context_use_stream(nullptr, nullptr), RORA_INVALID_ARGUMENT, "context is NULL");
}

TEST(objectsGiveTheirMemoryBack) {
  const Context context("reference");
  {
    const auto weight = make_weight(context, RORA_BF16, 3, 5, std::vector<float>(15));
    const auto activation = make_activation(context, RORA_F32, 3, 5, 2);
    const auto batch = make_batch(context, 3);
    const Floats a(context, 5), b(context, 3), m(context, 3);
    rora_adapter* made = nullptr;
    EXPECT_OK(rora_adapter_create(context, 3, 5, 1, 1.0f, a.get(), b.get(), m.get(), nullptr,
                                  nullptr, nullptr, &made));
    const AdapterHandle adapter(made);
    EXPECT(rora_context_bytes(context) > 0);
  }
  EXPECT(rora_context_bytes(context) == 0);
}

TEST(messagesBelongToTheirThread) {
  void* memory = nullptr;
  EXPECT(rora_alloc(nullptr, 1, &memory) == RORA_INVALID_ARGUMENT);
  const std::string mine = rora_last_error();
  std::string others = "unset";
  std::thread([&] { others = rora_last_error(); }).join();
  EXPECT(!mine.empty() && others.empty());
}

TEST(versionHasThreeNumbers) {
  int major, minor, patch, end = 0;
  EXPECT(std::sscanf(rora_version(), "%d.%d.%d%n", &major, &minor, &patch, &end) == 3);
  EXPECT(rora_version()[end] == '\0');
}

// Pauses let the workers fall asleep, and pools that end at once catch them on their way there.
TEST(sleepingThreadsMissNoTaskAndStop) {
  for (int round = 0; round < 50; ++round) {
    rora::ThreadPool pool(3);
    for (int call = 0; call < round % 5; ++call) {
      std::this_thread::sleep_for(std::chrono::microseconds(30 * (round % 10)));
      std::vector<int> runs(100, 0);
      rora::parallel(pool, 100, [&](int64_t i, int32_t) { ++runs[size_t(i)]; });
      EXPECT(runs == std::vector<int>(100, 1));
    }
  }
}

TEST(everyTaskRunsOnceOnAnyNumberOfThreads) {
  for (int threads = 1; threads <= 3; ++threads) {
    rora::ThreadPool pool(threads);
    for (int round = 0; round < 200; ++round) {
      const int64_t tasks = round % 17;
      std::vector<int> runs(16, 0);
      bool known_threads[16] = {};
      rora::parallel(pool, tasks, [&](int64_t i, int32_t thread) {
        ++runs[size_t(i)];
        known_threads[i] = thread >= 0 && thread < threads;
      });
      for (int64_t i = 0; i < 16; ++i) {
        EXPECT(runs[size_t(i)] == (i < tasks ? 1 : 0));
        EXPECT(known_threads[i] == (i < tasks));
      }
    }
  }
}
