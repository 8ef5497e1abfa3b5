// The emulation itself: each layout against a plain loop, each finding provoked.
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "../testing.h"
#include "cuda/device.h"
#include "cuda/launch.h"

using namespace rora::cuda;
using namespace rora::testing;

namespace {

template <class Body>
__global__ void call(Body body) {
  body();
}

// Starts blocks of threads that each do `body`.
template <class Body>
std::string run(const Body& body, uint32_t block = 32, uint32_t shared_bytes = 0, Grid grid = {},
                uint64_t seed = 1) {
  simt::Stream stream(seed);
  return launch(call<Body>, grid, block, shared_bytes, &stream, body);
}

void expect_finding(int line, const std::string& found, const std::string& expected) {
  if (found.find(expected) != std::string::npos && !expected.empty()) return;
  report_failure(__FILE__, line, "found \"" + found + "\", expected \"" + expected + "\"");
}
#define EXPECT_FINDING(found, expected) expect_finding(__LINE__, found, expected)

bool ends_the_process(const std::function<void()>& body) {
  std::fflush(stdout);
  const pid_t child = fork();
  if (child == 0) {
    std::fclose(stderr);
    body();
    _exit(0);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return !WIFEXITED(status) || WEXITSTATUS(status) != 0;
}

// Whether a kernel's access ends the process, as those beyond the guards do.
template <class Body>
bool dies(const Body& body) {
  return ends_the_process([&] { run(body); });
}

int thread() { return int(threadIdx.x); }

template <class T>
std::vector<float> values(const simt::Memory<T>& memory) {
  return {memory.begin(), memory.end()};
}

bool all_nan(const simt::Memory<float>& memory) {
  return std::all_of(memory.begin(), memory.end(), [](float x) { return std::isnan(x); });
}

uint32_t pair_of(float low, float high) { return round_pair(low, high); }

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kSeesEveryByte = true;
#else
constexpr bool kSeesEveryByte = false;
#endif

}  // namespace

TEST(everyThreadOfEveryBlockRunsOnce) {
  const Grid grid{3, 4, 5};
  simt::Memory<int> count(60 * 64);
  std::fill(count.begin(), count.end(), 0);
  int* const out = count.data();
  EXPECT(run(
             [=] {
               if (blockDim.x != 64 || gridDim.x != 3 || gridDim.y != 4 || gridDim.z != 5) return;
               const uint32_t block =
                   (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
               ++out[block * blockDim.x + threadIdx.x];
             },
             64, 0, grid) == "");
  EXPECT_SAME_BITS(values(count), std::vector<float>(60 * 64, 1.0f));
}

TEST(memoryStartsAsNaN) {
  simt::Memory<float> global(33), shared(64);
  EXPECT(all_nan(global));
  float* const out = shared.data();
  const auto body = [=] {
    float* const mine = shared_memory<float>() + thread();
    out[blockIdx.x * 32 + threadIdx.x] = *mine;
    *mine = 1.0f;  // the next block must not see it
  };
  std::fill(shared.begin(), shared.end(), 0.0f);
  EXPECT(run(body, 32, 128, {2}) == "");
  EXPECT(all_nan(shared));
}

TEST(memoryIsAlignedTo256AndNoMore) {
  for (const size_t count : {0, 1, 63, 64, 65, 1000, 4096}) {
    simt::Memory<float> memory(count);
    EXPECT(reinterpret_cast<uintptr_t>(memory.data()) % 512 == 256);
    EXPECT(count == 0 || simt::region_of(memory.end() - 1).begin ==
                             reinterpret_cast<const std::byte*>(memory.data()));
    EXPECT(simt::region_of(memory.end()).begin == nullptr);
  }
}

TEST(shufflesMoveWholeValues) {
  simt::Memory<float> exchanged(32), from(32), sum(32), largest(32);
  simt::Memory<uint64_t> wide(32);
  float *const e = exchanged.data(), *const f = from.data(), *const s = sum.data(),
               *const l = largest.data();
  uint64_t* const w = wide.data();
  EXPECT(run([=] {
           const float x = float(thread() * thread());
           e[thread()] = shuffle_xor(x, 5);
           f[thread()] = shuffle(x, (thread() + 3) % 32);
           w[thread()] = shuffle(uint64_t(thread()) << 40, 7);
           s[thread()] = warp_sum(x);
           l[thread()] = warp_max(-x);
         }) == "");
  for (int i = 0; i < 32; ++i) {
    EXPECT(exchanged[size_t(i)] == float((i ^ 5) * (i ^ 5)));
    EXPECT(from[size_t(i)] == float(((i + 3) % 32) * ((i + 3) % 32)));
    EXPECT(wide[size_t(i)] == uint64_t(7) << 40);
    EXPECT(sum[size_t(i)] == 10416.0f);
    EXPECT(largest[size_t(i)] == 0.0f);
  }
}

// PTX ISA, ldmatrix: lane l holds row l / 4, columns 2 (l % 4) and the next.
TEST(loadMatricesIsTheDocumentedLayout) {
  simt::Memory<uint32_t> plain(128), transposed(128);
  uint32_t *const p = plain.data(), *const q = transposed.data();
  constexpr int kPitch = 40;  // elements from row to row: not the 8 of a matrix
  const auto element = [](int matrix, int row, int column) {
    return uint32_t(1000 * matrix + 10 * row + column);
  };
  EXPECT(run(
             [=] {
               uint16_t* const tile = shared_memory<uint16_t>();
               for (int i = thread(); i < 256; i += 32)
                 tile[i / 8 * kPitch + i % 8] = uint16_t(element(i / 64, i / 8 % 8, i % 8));
               block_sync();
               uint32_t r[4];
               load_matrices(r, tile + thread() * kPitch);
               for (int i = 0; i < 4; ++i) p[thread() * 4 + i] = r[i];
               load_matrices_transposed(r, tile + thread() * kPitch);
               for (int i = 0; i < 4; ++i) q[thread() * 4 + i] = r[i];
             },
             32, 32 * kPitch * 2) == "");
  for (int lane = 0; lane < 32; ++lane)
    for (int m = 0; m < 4; ++m) {
      const int row = lane / 4, column = lane % 4 * 2;
      EXPECT(plain[size_t(lane * 4 + m)] ==
             (element(m, row, column) | element(m, row, column + 1) << 16));
      EXPECT(transposed[size_t(lane * 4 + m)] ==
             (element(m, column, row) | element(m, column + 1, row) << 16));
    }
}

namespace {

// d += a b by one multiply_add, all three by rows.
std::vector<float> multiplied(const std::vector<float>& a, const std::vector<float>& b,
                              const std::vector<float>& d) {
  std::vector<float> result = d;
  const float *const x = a.data(), *const y = b.data();
  float* const out = result.data();
  EXPECT(run([=] {
           const int g = thread() / 4, t = thread() % 4 * 2;
           const auto in_row = [&](int row, int k) {
             return pair_of(x[row * 16 + k], x[row * 16 + k + 1]);
           };
           const auto in_column = [&](int k) { return pair_of(y[k * 8 + g], y[(k + 1) * 8 + g]); };
           const uint32_t fragment[4] = {in_row(g, t), in_row(g + 8, t), in_row(g, t + 8),
                                         in_row(g + 8, t + 8)};
           float* const top = out + g * 8 + t;
           float* const bottom = top + 64;
           float sum[4] = {top[0], top[1], bottom[0], bottom[1]};
           multiply_add(sum, fragment, in_column(t), in_column(t + 8));
           for (int i = 0; i < 2; ++i) top[i] = sum[i], bottom[i] = sum[2 + i];
         }) == "");
  return result;
}

}  // namespace

// PTX ISA, mma.m16n8k16: the fragments as device.h describes them.
TEST(multiplyAddIsTheDocumentedLayout) {
  Random random(1);
  const std::vector<float> a = random.integers(256, 100), b = random.integers(128, 100),
                           d = random.integers(128, 1000);
  std::vector<float> expected = d;
  for (size_t row = 0; row < 16; ++row)
    for (size_t column = 0; column < 8; ++column)
      for (size_t k = 0; k < 16; ++k)
        expected[row * 8 + column] += a[row * 16 + k] * b[k * 8 + column];
  EXPECT_SAME_BITS(multiplied(a, b, d), expected);
}

TEST(multiplyAddRoundsOnce) {
  // 1 + 16 products of 2^-25: each alone would vanish, together they are 2^-21.
  const std::vector<float> a(256, std::ldexp(1.0f, -12)), b(128, std::ldexp(1.0f, -13)),
      d(128, 1.0f);
  EXPECT_SAME_BITS(multiplied(a, b, d), std::vector<float>(128, 1.0f + std::ldexp(1.0f, -21)));
}

TEST(roundingIsToNearestEven) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const float value = widen(bf16(bits));
    const uint32_t pair = round_pair(value, 1.0f);
    EXPECT(pair >> 16 == 0x3f80);
    EXPECT(std::isnan(value) ? (pair & 0xffff) == 0x7fff : (pair & 0xffff) == bits);
  }
  const auto rounded = [](float value) { return widen(round_one(value)); };
  const float ulp = std::ldexp(1.0f, -7);
  EXPECT(rounded(1 + ulp / 2) == 1);
  EXPECT(rounded(1 + ulp / 2 + std::ldexp(1.0f, -23)) == 1 + ulp);
  EXPECT(rounded(1 + 3 * ulp / 2) == 1 + 2 * ulp);
  EXPECT(rounded(-1 - 3 * ulp / 2) == -1 - 2 * ulp);
  EXPECT(std::isinf(rounded(3.4e38f)));
}

TEST(fastFunctionsFlushDenormals) {
  EXPECT(fast_exp2(3.0f) == 8.0f && fast_exp2(-200.0f) == 0.0f && fast_exp2(-130.0f) == 0.0f);
  EXPECT(fast_exp2(-INFINITY) == 0.0f);
  EXPECT(fast_rsqrt(4.0f) == 0.5f && std::isinf(fast_rsqrt(1e-40f)));
}

TEST(copiesAreSeenAfterTheirWait) {
  simt::Memory<float> source(256), early(128), late(128);
  for (size_t i = 0; i < 256; ++i) source[i] = float(i);
  const float* const in = source.data();
  float *const first = early.data(), *const second = late.data();
  // Group 0 copies the thread's four floats, group 1 those 128 later.
  const auto body = [=] {
    float* const tile = shared_memory<float>();
    const int at = thread() * 4;
    copy_async_16(tile + at, in + at, true);
    copy_commit();
    copy_async_16(tile + 128 + at, in + 128 + at, thread() % 2 == 0);
    copy_commit();
    copy_wait<1>();
    for (int i = at; i < at + 4; ++i) first[i] = tile[i], second[i] = tile[128 + i];
    copy_wait<0>();
    for (int i = at; i < at + 4; ++i) {
      const float expected = thread() % 2 == 0 ? float(128 + i) : 0.0f;
      if (tile[128 + i] != expected) first[i] = -1.0f;
    }
  };
  EXPECT(run(body, 32, 1024) == "");
  EXPECT_SAME_BITS(values(early), std::vector<float>(in, in + 128));
  EXPECT(all_nan(late));
}

TEST(copiesReadWhenTheyAreIssued) {
  simt::Memory<float> source(4), result(4);
  std::fill(source.begin(), source.end(), 1.0f);
  float *const in = source.data(), *const out = result.data();
  EXPECT(run(
             [=] {
               float* const tile = shared_memory<float>();
               if (thread() != 0) return;
               copy_async_16(tile, in, true);
               in[0] = 2.0f;
               copy_commit();
               copy_wait<0>();
               for (int i = 0; i < 4; ++i) out[i] = tile[i];
             },
             32, 16) == "");
  EXPECT_SAME_BITS(values(result), std::vector<float>(4, 1.0f));
}

TEST(copiesAreChecked) {
  simt::Memory<float> source(10, "weights");
  std::fill(source.begin(), source.end(), 1.0f);
  float host[8] = {};
  const auto copy = [](int shared_byte, const void* global, bool valid) {
    return run(
        [=] {
          if (thread() == 5) copy_async_16(shared_memory<char>() + shared_byte, global, valid);
          copy_commit();
          copy_wait<0>();
        },
        32, 40);
  };
  const float* const in = source.data();
  EXPECT(copy(16, in + 4, true) == "");
  EXPECT(copy(16, in + 8, false) == "");
  EXPECT_FINDING(copy(16, in + 8, true),
                 "block (0, 0, 0), thread 5: copies from byte 32 of weights, 40 bytes: outside");
  EXPECT_FINDING(copy(0, in + 1, true), "copies from byte 4 of weights, 40 bytes: not aligned");
  EXPECT_FINDING(copy(0, in + 12, false), "copies from an address that is in no global memory");
  EXPECT_FINDING(copy(0, host, true), "copies from an address that is in no global memory");
  EXPECT_FINDING(copy(8, in, true), "copies to byte 8 of shared memory, 40 bytes: not aligned");
  EXPECT_FINDING(copy(32, in, true), "copies to byte 32 of shared memory, 40 bytes: outside");
  EXPECT_FINDING(copy(-16, in, true), "copies to byte -16 of shared memory, 40 bytes: outside");
}

TEST(copiesNobodyWaitsForAreFound) {
  simt::Memory<float> source(4);
  std::fill(source.begin(), source.end(), 1.0f);
  const float* const in = source.data();
  EXPECT_FINDING(run(
                     [=] {
                       copy_async_16(shared_memory<float>() + 4 * thread(), in, true);
                       copy_wait<0>();  // there is no group yet
                     },
                     32, 512),
                 "exits before it has waited for its copies");
  EXPECT_FINDING(run(
                     [=] {
                       float* const tile = shared_memory<float>() + 4 * thread();
                       copy_async_16(tile, in, true);
                       copy_commit();
                       tile[1] = 0.0f;
                       copy_wait<0>();
                     },
                     32, 512),
                 "somebody has written there meanwhile");
}

namespace {

// Sums over a block with or without what orders writes and reads.
template <bool kBlock, bool kOrdered>
int wrong_sums(int seeds) {
  simt::Memory<float> result(1);
  int wrong = 0;
  for (int seed = 0; seed < seeds; ++seed) {
    float* const out = result.data();
    EXPECT(run(
               [=] {
                 float* const tile = shared_memory<float>();
                 tile[thread()] = 1.0f;
                 if (kBlock && kOrdered) block_sync();
                 if (!kBlock && kOrdered) warp_sync();
                 if (thread() != 0) return;
                 out[0] = 0.0f;
                 for (int i = 0; i < int(blockDim.x); ++i) out[0] += tile[i];
               },
               kBlock ? 128 : 32, 512, {}, uint64_t(seed)) == "");
    wrong += result[0] != (kBlock ? 128.0f : 32.0f);
  }
  return wrong;
}

}  // namespace

TEST(someSeedFindsAMissingBarrier) {
  EXPECT((wrong_sums<true, true>(50) == 0));
  EXPECT((wrong_sums<true, false>(50) > 25));
  EXPECT((wrong_sums<false, true>(50) == 0));
  EXPECT((wrong_sums<false, false>(50) > 25));
}

TEST(aSeedRepeatsTheOrderOfWarpsAndBlocks) {
  const auto order = [](uint64_t seed) {
    std::vector<int> events;
    std::vector<int>* const out = &events;
    EXPECT(run(
               [=] {
                 for (int turn = 0; turn < 3; ++turn) {
                   out->push_back(int(blockIdx.x * blockDim.x + threadIdx.x));
                   warp_sync();
                 }
               },
               128, 0, {5}, seed) == "");
    return events;
  };
  std::set<std::vector<int>> orders;
  for (uint64_t seed = 0; seed < 10; ++seed) {
    EXPECT(order(seed) == order(seed));
    EXPECT(order(seed).size() == 5 * 128 * 3);
    orders.insert(order(seed));
  }
  EXPECT(orders.size() == 10);
}

TEST(warpsThatPartAreFound) {
  EXPECT_FINDING(run([] {
                   if (thread() == 3) return;
                   warp_sync();
                 }),
                 "thread 0: waits at warp_sync, but thread 3 of its warp has come to its end");
  EXPECT_FINDING(run([] {
                   if (thread() < 4)
                     warp_sync();
                   else
                     shuffle(1.0f, 0);
                 }),
                 "thread 0: waits at warp_sync, but thread 4 of its warp has come to a shuffle");
  EXPECT_FINDING(run([] {
                   for (int i = 0; i < (thread() == 31 ? 3 : 2); ++i) shuffle(1.0f, 0);
                 }),
                 "thread 31: waits at a shuffle, but thread 0 of its warp has come to its end");
  EXPECT_FINDING(run([] { shuffle(1.0f, thread() + 1); }), "thread 31: shuffles from lane 32");
}

TEST(barriersThatPartAreFound) {
  EXPECT_FINDING(run(
                     [] {
                       if (thread() < 96) block_sync();
                     },
                     128),
                 "waits at block_sync, but 1 warp has exited");
  EXPECT_FINDING(run(
                     [] {
                       if (thread() != 70) block_sync();
                     },
                     128),
                 "thread 64: waits at block_sync, but thread 70 of its warp has come to its end");
}

TEST(matrixRowsAreChecked) {
  const auto load = [](int bytes_of_last_row) {
    return run(
        [=] {
          uint32_t r[4];
          const char* const rows = shared_memory<char>();
          load_matrices(r, rows + (thread() == 31 ? bytes_of_last_row : 16 * thread()));
        },
        32, 512);
  };
  EXPECT(load(496) == "");
  EXPECT_FINDING(load(488), "thread 31: loads a matrix row from byte 488 of shared memory, 512");
  EXPECT_FINDING(load(512), "byte 512 of shared memory, 512 bytes: outside");
}

TEST(launchesBeyondTheLimitsAreFound) {
  EXPECT(run([] {}, 1024, 227 * 1024) == "");
  EXPECT_FINDING(run([] {}, 1056), "blocks of 1056 threads");
  EXPECT_FINDING(run([] {}, 40), "blocks of 40 threads");
  EXPECT_FINDING(run([] {}, 0), "blocks of 0 threads");
  EXPECT_FINDING(run([] {}, 32, 227 * 1024 + 1), "232449 bytes of shared memory");
  EXPECT_FINDING(run([] {}, 32, 0, {0, 1, 1}), "grid of (0, 1, 1)");
  EXPECT_FINDING(run([] {}, 32, 0, {1, 65536, 1}), "grid of (1, 65536, 1)");
}

TEST(accessesBeyondTheGuardsEndTheProcess) {
  simt::Memory<float> memory(1024);
  volatile float* const data = memory.data();
  EXPECT(!dies([=] { data[0] = data[1023]; }));
  EXPECT(dies([=] { data[0] = data[1024 + 128]; }));
  EXPECT(dies([=] { data[-2048] = 0.0f; }));
  EXPECT(dies([=] { data[0] = shared_memory<float>()[64]; }));
  EXPECT(dies([=] { data[0] = data[1024]; }) == kSeesEveryByte);
  EXPECT(dies([=] { data[-1] = 0.0f; }) == kSeesEveryByte);
}

TEST(writesJustOutsideAreFound) {
  if (kSeesEveryByte) return;  // the process ends instead
  simt::Memory<float> memory(5, "sums");
  volatile float* const data = memory.data();
  EXPECT_FINDING(run([=] { data[5] = 1.0f; }), "sums, 20 bytes: somebody wrote at byte 20");
  EXPECT_FINDING(run([=] { data[-1] = 1.0f; }), "sums, 20 bytes: somebody wrote at byte -1");
  EXPECT(run([] {}) == "");
  EXPECT_FINDING(run([=] { shared_memory<char>()[50] = 0; }, 32, 50),
                 "block (0, 0, 0): shared memory, 50 bytes: somebody wrote at byte 50");
  EXPECT_FINDING(run([=] { shared_memory<char>()[-1] = 0; }, 32, 50),
                 "block (0, 0, 0): shared memory, 50 bytes: somebody wrote at byte -1");
}

TEST(aLaunchAfterAFindingIsAsAnyOther) {
  simt::Memory<float> result(256);
  float* const out = result.data();
  for (int i = 0; i < 3; ++i) {
    EXPECT_FINDING(run(
                       [] {
                         float big[1000];  // frames that are never left
                         for (float& x : big) x = float(thread());
                         if (warp_sum(big[size_t(thread())]) > 0 && thread() == 77) return;
                         block_sync();
                       },
                       256),
                   "thread 64: waits at block_sync, but thread 77");
    EXPECT(run([=] { out[thread()] = warp_sum(1.0f); }, 256) == "");
    EXPECT_SAME_BITS(values(result), std::vector<float>(256, 32.0f));
  }
}

TEST(aStreamCanDoSomethingElse) {
  simt::Stream stream;
  simt::Launch seen;
  stream.instead = [&](const simt::Launch& launch) {
    seen = launch;
    return std::string("not now");
  };
  struct Op {
    int x;
    void operator()() const {}
  };
  EXPECT(std::string(launch(call<Op>, Grid{2, 3, 4}, 64, 100, &stream, Op{7})) == "not now");
  EXPECT(seen.kernel == reinterpret_cast<const void*>(call<Op>));
  EXPECT(seen.op_bytes == sizeof(Op) && seen.block == 64 && seen.shared_bytes == 100);
  EXPECT(seen.grid.x == 2 && seen.grid.y == 3 && seen.grid.z == 4);
}

TEST(privateMemoryIsTheDevicesAlone) {
  simt::Memory<float> memory(1);
  memory[0] = 1;
  volatile float* const data = memory.data();
  simt::set_private(true);
  EXPECT(run([data] {
           if (thread() == 0) *data = *data + 1;
         }).empty());
  EXPECT(ends_the_process([&] { *data = 3; }));
  EXPECT(!ends_the_process([&] {
    const simt::HostAccess access;
    *data = 3;
  }));
  simt::Memory<float> later(1);
  EXPECT(ends_the_process([&] { later[0] = 3; }));
  simt::set_private(false);
  EXPECT(memory[0] == 2);
}
