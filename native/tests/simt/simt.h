// An emulation of what CUDA kernels run on, for tests without a GPU. It looks for what a GPU may
// hide: the order of warps and blocks is random by the stream's seed, memory nobody has written
// holds NaN, and whatever a kernel must not do ends the launch with a finding, a text that says
// where.
//
// Every thread of a block is a fiber with a stack of its own; blocks run one after another. A lane
// runs until it meets a barrier or a function of the whole warp. There it stops until all others
// that take part have come, so between two of those the lanes of a warp run one after another, in
// random order, and warps change places only there.
//
// What it does not see: races that no order of whole stretches between two such points shows, and
// accesses outside of an allocation by less than its alignment (256 bytes, of shared memory 128),
// unless they are writes or the build has AddressSanitizer, which sees every byte.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <type_traits>
#include <vector>

namespace rora::cuda::simt {

struct Index {
  uint32_t x = 0, y = 0, z = 0;
};

// Of the thread that runs.
extern constinit thread_local Index threadIdx, blockIdx, blockDim, gridDim;

// One start of a kernel.
struct Launch {
  std::function<void()> thread;  // what one thread does
  const void* kernel;            // the kernel's address and its argument
  const void* op;
  size_t op_bytes;
  Index grid;
  uint32_t block;
  uint32_t shared_bytes;
};

// What one block may have.
constexpr uint32_t kMaxThreads = 1024;
constexpr uint32_t kMaxSharedBytes = 227 * 1024;  // sm_90 and sm_100; sm_86, 89, 120: 99 KB

// Launches on one stream run in order, each when it is called.
class Stream {
 public:
  explicit Stream(uint64_t seed = 1) : state_(seed) {}

  // Replaces the emulation if set. Returns "" or a finding.
  std::function<std::string(const Launch&)> instead;

  uint64_t random();

 private:
  friend const char* launch(const Launch& launch, Stream* stream);
  uint64_t state_;
  std::string finding_;
};

// Runs all blocks. Returns "" or the first finding, which lives until the stream's next launch.
const char* launch(const Launch& launch, Stream* stream);

// Guarded bytes of 0xff, aligned to 256 and no more, which copy_async_16 takes for global memory.
// An access beyond the guards ends the process; writes to the bytes just outside are a finding of
// the next launch that ends. NULL if there is no memory.
void* allocate(size_t bytes, const std::string& name = "global memory");
void release(void* memory);

// An allocation, and the one that holds an address.
struct Region {
  const std::byte* begin = nullptr;  // NULL: no allocation does
  size_t bytes = 0;
  const char* name = "";
};
Region region_of(const void* address);
std::vector<Region> regions();  // all, by address

// As a GPU's memory is: while it is private, an access by the host outside of a launch ends the
// process. With RORA_SIMT_PRIVATE in the environment it is from the start.
void set_private(bool is_private);

// While one lives all memory is the host's too, as it must be where the host only stands for what
// copies bytes.
class HostAccess {
 public:
  HostAccess();
  ~HostAccess();
  HostAccess(const HostAccess&) = delete;
  HostAccess& operator=(const HostAccess&) = delete;
};

// A global array of `count` elements for a test.
template <class T>
class Memory {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  explicit Memory(size_t count, const std::string& name = "global memory")
      : count_(count), data_(static_cast<T*>(allocate(count * sizeof(T), name))) {}
  ~Memory() { release(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;

  T* data() { return data_; }
  const T* data() const { return data_; }
  size_t size() const { return count_; }
  T& operator[](size_t i) { return data_[i]; }
  const T& operator[](size_t i) const { return data_[i]; }
  T* begin() { return data_; }
  T* end() { return data_ + count_; }
  const T* begin() const { return data_; }
  const T* end() const { return data_ + count_; }

 private:
  size_t count_;
  T* data_;
};

// What device.h's functions are here. They are called by a kernel's threads alone.
void* shared_memory();
int lane();
uint32_t round_pair(float low, float high);
float fast_exp2(float x);
float fast_rsqrt(float x);
void copy_async_16(void* shared, const void* global, bool valid);
void copy_commit();
void copy_wait(int pending);
void load_matrices(uint32_t (&r)[4], const void* shared_row, bool transposed);
void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1);
void warp_sync();
void block_sync();

void shuffle_bytes(void* value, size_t bytes, int source);
template <class T>
T shuffle(T value, int source) {
  static_assert(std::is_trivially_copyable_v<T> && (sizeof(T) == 4 || sizeof(T) == 8));
  shuffle_bytes(&value, sizeof value, source);
  return value;
}

}  // namespace rora::cuda::simt
