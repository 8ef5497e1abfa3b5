#include "tests/simt/simt.h"

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "cuda/device.h"
#include "fiber.h"
#include "guarded.h"

namespace rora::cuda::simt {

constinit thread_local Index threadIdx, blockIdx, blockDim, gridDim;

namespace {

constexpr uint32_t kLanes = uint32_t(kWarp);

std::string text_of(const Index& i) {
  char text[64];
  std::snprintf(text, sizeof text, "(%u, %u, %u)", i.x, i.y, i.z);
  return text;
}

// --- Global memory

struct Allocation {
  Allocation(size_t bytes, const std::string& name) : memory(bytes, 256), name(name) {}
  Guarded memory;
  std::string name;
};

// All allocations by the address of their first byte.
class Registry {
 public:
  void* add(size_t bytes, const std::string& name) {
    const std::lock_guard lock(mutex_);
    auto allocation = std::make_unique<Allocation>(bytes, name);
    std::byte* const data = allocation->memory.data();
    if (is_hidden()) allocation->memory.open(false);
    allocations_[data] = std::move(allocation);
    return data;
  }

  void remove(void* memory) {
    const std::lock_guard lock(mutex_);
    allocations_.erase(static_cast<std::byte*>(memory));
  }

  void set_private(bool is_private) {
    change([&] { private_ = is_private; });
  }
  void add_access(int count) {
    change([&] { accesses_ += count; });
  }

  Region region_of(const void* address) {
    const std::lock_guard lock(mutex_);
    const std::byte* const byte = static_cast<const std::byte*>(address);
    auto after = allocations_.upper_bound(byte);
    if (after == allocations_.begin()) return {};
    const Region found = region(*(--after)->second);
    return byte < found.begin + found.bytes ? found : Region();
  }

  std::vector<Region> regions() {
    const std::lock_guard lock(mutex_);
    std::vector<Region> all;
    for (const auto& [begin, allocation] : allocations_) all.push_back(region(*allocation));
    return all;
  }

  std::string altered() {
    const std::lock_guard lock(mutex_);
    for (auto& [begin, allocation] : allocations_) {
      const std::string what = allocation->memory.altered();
      if (what.empty()) continue;
      return allocation->name + ", " + std::to_string(allocation->memory.bytes()) +
             " bytes: " + what;
    }
    return "";
  }

 private:
  static Region region(const Allocation& a) {
    return {a.memory.data(), a.memory.bytes(), a.name.c_str()};
  }

  bool is_hidden() const { return private_ && accesses_ == 0; }
  template <class Change>
  void change(const Change& change) {
    const std::lock_guard lock(mutex_);
    const bool was_hidden = is_hidden();
    change();
    if (is_hidden() == was_hidden) return;
    for (const auto& [begin, allocation] : allocations_) allocation->memory.open(was_hidden);
  }

  bool private_ = std::getenv("RORA_SIMT_PRIVATE") != nullptr;
  int accesses_ = 0;
  std::mutex mutex_;
  std::map<const std::byte*, std::unique_ptr<Allocation>> allocations_;
};

Registry& registry() {
  static Registry* const all = new Registry;  // outlives every static Memory
  return *all;
}

// --- A block

// Why a lane does not run.
enum class Stop : uint8_t {
  kNone,
  kExit,
  kFinding,
  kBlockSync,
  kWarpSync,
  kShuffle,
  kLoadMatrices,
  kLoadMatricesTransposed,
  kMultiplyAdd,
};

const char* name_of(Stop stop) {
  switch (stop) {
    case Stop::kNone:
      return "nothing";
    case Stop::kExit:
      return "its end";
    case Stop::kFinding:
      return "a finding";
    case Stop::kBlockSync:
      return "block_sync";
    case Stop::kWarpSync:
      return "warp_sync";
    case Stop::kShuffle:
      return "a shuffle";
    case Stop::kLoadMatrices:
      return "load_matrices";
    case Stop::kLoadMatricesTransposed:
      return "load_matrices_transposed";
    case Stop::kMultiplyAdd:
      return "multiply_add";
  }
  return "";
}

// What a lane brings to a function of its warp.
struct ShuffleArguments {
  void* value;
  size_t bytes;
  int source;
};
struct LoadArguments {
  uint32_t* r;
  const void* row;
};
struct MultiplyArguments {
  float* d;
  const uint32_t* a;
  uint32_t b[2];
};

struct Copy {
  void* shared;
  unsigned char bytes[16];
  uint32_t group;
};

struct Lane {
  Fiber fiber;
  Stop stop = Stop::kNone;
  const void* arguments = nullptr;
  std::vector<Copy> copies;  // pending, oldest first
  uint32_t group = 0;        // the one that copies go to
};

class Machine {
 public:
  std::string run(const Launch& launch, Stream& stream);

  // On a lane.
  void stop(Stop reason, const void* arguments = nullptr);
  [[noreturn]] void fail(const char* what);
  [[noreturn]] void fail(const char* what, ptrdiff_t byte, const char* memory, size_t bytes,
                         const char* why);
  void copy(void* shared, const void* global, bool valid);
  void commit() { ++lane().group; }
  void wait(int pending);
  void* shared() { return shared_->data(); }
  void check_shared(const void* address, const char* what);

 private:
  static void body();
  Lane& lane() { return *lanes_[threadIdx.x]; }
  uint32_t random(uint32_t below) { return uint32_t(stream_->random() % below); }

  std::string run_block();
  void run_lanes(uint32_t warp);
  bool settle(uint32_t warp);
  bool perform(Stop what, uint32_t warp);
  std::string divergence(uint32_t warp);
  std::string where(uint32_t thread) const {
    return "block " + text_of(blockIdx) + ", thread " + std::to_string(thread) + ": ";
  }

  template <class Arguments>
  const Arguments& arguments(uint32_t warp, uint32_t lane) const {
    return *static_cast<const Arguments*>(lanes_[warp * kLanes + lane]->arguments);
  }
  bool shuffle(uint32_t warp);
  bool load_matrices(uint32_t warp, bool transposed);
  void multiply_add(uint32_t warp);

  const Launch* launch_ = nullptr;
  Stream* stream_ = nullptr;
  std::unique_ptr<Guarded> shared_;
  std::vector<std::unique_ptr<Lane>> lanes_;  // of as many threads as any launch had
  std::vector<uint32_t> running_, waiting_;   // warps
  uint32_t exited_ = 0;
  std::string finding_;
  Region last_;  // where copies came from
};

constinit thread_local Machine* machine = nullptr;  // of the launch that runs

void Machine::body() {
  Machine& m = *machine;
  m.lane().fiber.entered();
  m.launch_->thread();
  if (!m.lane().copies.empty()) m.fail("exits before it has waited for its copies");
  m.stop(Stop::kExit);
}

void Machine::stop(Stop reason, const void* arguments) {
  const Index self = threadIdx;
  Lane& lane = *lanes_[self.x];
  lane.stop = reason;
  lane.arguments = arguments;
  lane.fiber.leave();
}

// A lane that fails is never entered again and its objects are never destroyed: they own nothing.
void Machine::fail(const char* what) {
  finding_ = where(threadIdx.x) + what;
  stop(Stop::kFinding);
  std::abort();
}
void Machine::fail(const char* what, ptrdiff_t byte, const char* memory, size_t bytes,
                   const char* why) {
  finding_ = where(threadIdx.x) + what + " byte " + std::to_string(byte) + " of " + memory + ", " +
             std::to_string(bytes) + " bytes: " + why;
  stop(Stop::kFinding);
  std::abort();
}

void Machine::check_shared(const void* address, const char* what) {
  const bool aligned = reinterpret_cast<uintptr_t>(address) % 16 == 0;
  if (aligned && shared_->holds(address, 16)) return;
  fail(what, static_cast<const std::byte*>(address) - shared_->data(), "shared memory",
       shared_->bytes(), aligned ? "outside" : "not aligned to 16");
}

void Machine::copy(void* shared, const void* global, bool valid) {
  check_shared(shared, "copies to");
  const std::byte* const source = static_cast<const std::byte*>(global);
  const auto inside = [&] { return source >= last_.begin && source < last_.begin + last_.bytes; };
  if (!inside()) last_ = region_of(global);
  if (!inside()) fail("copies from an address that is in no global memory");
  const bool aligned = reinterpret_cast<uintptr_t>(source) % 16 == 0;
  const ptrdiff_t at = source - last_.begin;
  if (!aligned || (valid && last_.bytes - size_t(at) < 16))
    fail("copies from", at, last_.name, last_.bytes, aligned ? "outside" : "not aligned to 16");
  Copy copy{shared, {}, lane().group};
  if (valid) std::memcpy(copy.bytes, global, sizeof copy.bytes);
  std::memset(shared, 0xff, sizeof copy.bytes);
  lane().copies.push_back(copy);
}

void Machine::wait(int pending) {
  std::vector<Copy>& copies = lane().copies;
  size_t done = 0;
  // Groups before `group` are committed.
  while (done < copies.size() && copies[done].group + uint32_t(pending) < lane().group) {
    const Copy& copy = copies[done++];
    for (int i = 0; i < 16; ++i)
      if (static_cast<unsigned char*>(copy.shared)[i] != 0xff)
        fail("waits for a copy to", static_cast<std::byte*>(copy.shared) - shared_->data() + i,
             "shared memory", shared_->bytes(), "somebody has written there meanwhile");
    std::memcpy(copy.shared, copy.bytes, 16);
  }
  copies.erase(copies.begin(), copies.begin() + ptrdiff_t(done));
}

// --- Functions of a warp, when all its lanes have come

bool Machine::shuffle(uint32_t warp) {
  unsigned char values[kLanes][8];
  const size_t bytes = arguments<ShuffleArguments>(warp, 0).bytes;
  for (uint32_t l = 0; l < kLanes; ++l) {
    const auto& a = arguments<ShuffleArguments>(warp, l);
    if (a.bytes != bytes || a.source < 0 || a.source >= kWarp) {
      finding_ = where(warp * kLanes + l) +
                 (a.bytes != bytes ? std::string("shuffles another type than lane 0")
                                   : "shuffles from lane " + std::to_string(a.source));
      return false;
    }
    std::memcpy(values[l], a.value, bytes);
  }
  for (uint32_t l = 0; l < kLanes; ++l) {
    const auto& a = arguments<ShuffleArguments>(warp, l);
    std::memcpy(a.value, values[a.source], bytes);
  }
  return true;
}

bool Machine::load_matrices(uint32_t warp, bool transposed) {
  uint16_t matrices[4][8][8];
  for (uint32_t l = 0; l < kLanes; ++l)
    std::memcpy(matrices[l / 8][l % 8], arguments<LoadArguments>(warp, l).row, 16);
  for (uint32_t l = 0; l < kLanes; ++l)
    for (uint32_t i = 0; i < 4; ++i) {
      const uint32_t row = l / 4, column = l % 4 * 2;
      const auto& m = matrices[i];
      const uint32_t low = transposed ? m[column][row] : m[row][column],
                     high = transposed ? m[column + 1][row] : m[row][column + 1];
      arguments<LoadArguments>(warp, l).r[i] = low | high << 16;
    }
  return true;
}

// Products of two bf16 are exact in double, and so is nearly every sum: each element is rounded
// once.
void Machine::multiply_add(uint32_t warp) {
  double a[16][16], b[16][8];
  for (uint32_t l = 0; l < kLanes; ++l) {
    const auto& in = arguments<MultiplyArguments>(warp, l);
    const uint32_t g = l / 4, t = l % 4;
    for (uint32_t half = 0; half < 2; ++half) {  // of a pair of neighbours along the reduction
      const uint32_t k = 2 * t + half;
      const auto part = [half](uint32_t pair) { return double(widen(bf16(pair >> (16 * half)))); };
      a[g][k] = part(in.a[0]);
      a[g + 8][k] = part(in.a[1]);
      a[g][k + 8] = part(in.a[2]);
      a[g + 8][k + 8] = part(in.a[3]);
      b[k][g] = part(in.b[0]);
      b[k + 8][g] = part(in.b[1]);
    }
  }
  double d[16][8] = {};
  for (uint32_t row = 0; row < 16; ++row)
    for (uint32_t k = 0; k < 16; ++k)
      for (uint32_t column = 0; column < 8; ++column) d[row][column] += a[row][k] * b[k][column];
  for (uint32_t l = 0; l < kLanes; ++l) {
    float* const out = arguments<MultiplyArguments>(warp, l).d;
    const uint32_t g = l / 4, t = l % 4;
    for (uint32_t i = 0; i < 4; ++i)
      out[i] = float(double(out[i]) + d[g + 8 * (i / 2)][2 * t + i % 2]);
  }
}

bool Machine::perform(Stop what, uint32_t warp) {
  switch (what) {
    case Stop::kShuffle:
      return shuffle(warp);
    case Stop::kLoadMatrices:
      return load_matrices(warp, false);
    case Stop::kLoadMatricesTransposed:
      return load_matrices(warp, true);
    case Stop::kMultiplyAdd:
      multiply_add(warp);
      return true;
    default:
      return true;
  }
}

// --- The order of things

// Runs each lane of a warp that can to where it stops.
void Machine::run_lanes(uint32_t warp) {
  const uint32_t first = random(kLanes), step = 2 * random(kLanes / 2) + 1;
  for (uint32_t i = 0; i < kLanes; ++i) {
    const uint32_t thread = warp * kLanes + (first + i * step) % kLanes;
    Lane& lane = *lanes_[thread];
    threadIdx = {thread, 0, 0};
    lane.fiber.enter();
    if (lane.stop == Stop::kFinding) return;
  }
}

std::string Machine::divergence(uint32_t warp) {
  const auto stop_of = [&](uint32_t lane) { return lanes_[warp * kLanes + lane]->stop; };
  uint32_t waits = 0, other = 0;
  while (stop_of(waits) == Stop::kExit) ++waits;
  while (stop_of(other) == stop_of(waits)) ++other;
  return where(warp * kLanes + waits) + "waits at " + name_of(stop_of(waits)) + ", but thread " +
         std::to_string(warp * kLanes + other) + " of its warp has come to " +
         name_of(stop_of(other));
}

// All lanes of the warp have stopped. Says whether they can go on.
bool Machine::settle(uint32_t warp) {
  const Stop reason = lanes_[warp * kLanes]->stop;
  for (uint32_t l = 1; l < kLanes; ++l)
    if (lanes_[warp * kLanes + l]->stop != reason) {
      finding_ = divergence(warp);
      return false;
    }
  if (reason == Stop::kExit) {
    ++exited_;
    return false;
  }
  if (reason == Stop::kBlockSync) {
    waiting_.push_back(warp);
    return false;
  }
  return perform(reason, warp);
}

std::string Machine::run_block() {
  const uint32_t warps = launch_->block / kLanes;
  if (launch_->shared_bytes > 0) std::memset(shared_->data(), 0xff, launch_->shared_bytes);
  for (uint32_t thread = 0; thread < launch_->block; ++thread) {
    Lane& lane = *lanes_[thread];
    lane.stop = Stop::kNone;
    lane.copies.clear();
    lane.group = 0;
    lane.fiber.start(body);
  }
  finding_.clear();
  waiting_.clear();
  running_.clear();
  exited_ = 0;
  for (uint32_t warp = 0; warp < warps; ++warp) running_.push_back(warp);
  // In some blocks warps run side by side, in others one runs far ahead.
  static constexpr uint32_t kTurns[] = {1, 4, 32, 0x7fffffff};
  const uint32_t turns = kTurns[random(4)];
  while (true) {
    while (!running_.empty()) {
      const uint32_t chosen = random(uint32_t(running_.size())), warp = running_[chosen];
      bool on = true;
      do {
        run_lanes(warp);
        if (finding_.empty()) on = settle(warp);
        if (!finding_.empty()) return finding_;
      } while (on && random(turns) != 0);
      if (on) continue;
      running_[chosen] = running_.back();
      running_.pop_back();
    }
    if (waiting_.empty()) break;
    if (exited_ > 0)
      return where(waiting_[0] * kLanes) + "waits at block_sync, but " + std::to_string(exited_) +
             (exited_ == 1 ? " warp has" : " warps have") + " exited";
    running_.swap(waiting_);
  }
  const std::string altered = shared_->altered();
  if (altered.empty()) return "";
  return "block " + text_of(blockIdx) + ": shared memory, " +
         std::to_string(launch_->shared_bytes) + " bytes: " + altered;
}

std::string Machine::run(const Launch& launch, Stream& stream) {
  launch_ = &launch;
  stream_ = &stream;
  last_ = {};
  while (lanes_.size() < launch.block) lanes_.push_back(std::make_unique<Lane>());
  shared_ = std::make_unique<Guarded>(launch.shared_bytes, 128);
  gridDim = launch.grid;
  blockDim = {launch.block, 1, 1};
  const Index& grid = launch.grid;
  std::vector<uint64_t> order(uint64_t(grid.x) * grid.y * grid.z);
  for (uint64_t i = 0; i < order.size(); ++i) {
    order[i] = i;
    std::swap(order[i], order[stream.random() % (i + 1)]);
  }
  for (const uint64_t block : order) {
    blockIdx = {uint32_t(block % grid.x), uint32_t(block / grid.x % grid.y),
                uint32_t(block / grid.x / grid.y)};
    const std::string finding = run_block();
    if (!finding.empty()) return finding;
  }
  return registry().altered();
}

std::string emulate(const Launch& launch, Stream& stream) {
  const Index& grid = launch.grid;
  if (grid.x == 0 || grid.y == 0 || grid.z == 0 || grid.x > 0x7fffffff || grid.y > 65535 ||
      grid.z > 65535)
    return "a grid of " + text_of(grid) + " blocks";
  if (launch.block == 0 || launch.block > kMaxThreads || launch.block % kLanes != 0)
    return "blocks of " + std::to_string(launch.block) + " threads: must be whole warps, at most " +
           std::to_string(kMaxThreads);
  if (launch.shared_bytes > kMaxSharedBytes)
    return std::to_string(launch.shared_bytes) + " bytes of shared memory: at most " +
           std::to_string(kMaxSharedBytes);
  thread_local Machine own;
  machine = &own;
  return own.run(launch, stream);
}

}  // namespace

// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
uint64_t Stream::random() {
  uint64_t z = state_ += 0x9e3779b97f4a7c15u;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
  return z ^ (z >> 31);
}

const char* launch(const Launch& launch, Stream* stream) {
  const HostAccess access;
  stream->finding_ = stream->instead ? stream->instead(launch) : emulate(launch, *stream);
  return stream->finding_.c_str();
}

void* allocate(size_t bytes, const std::string& name) {
  try {
    return registry().add(bytes, name);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}
void release(void* memory) { registry().remove(memory); }
Region region_of(const void* address) { return registry().region_of(address); }
std::vector<Region> regions() { return registry().regions(); }
void set_private(bool is_private) { registry().set_private(is_private); }
HostAccess::HostAccess() { registry().add_access(1); }
HostAccess::~HostAccess() { registry().add_access(-1); }

void* shared_memory() { return machine->shared(); }
int lane() { return int(threadIdx.x % kLanes); }

uint32_t round_pair(float low, float high) {
  const auto rounded = [](float value) -> uint32_t {
    uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    if (std::isnan(value)) return 0x7fff;
    return (bits + 0x7fff + (bits >> 16 & 1)) >> 16;  // to nearest even
  };
  return rounded(low) | rounded(high) << 16;
}

// Denormal arguments and results are zeros.
static float flushed(float x) {
  return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x;
}
float fast_exp2(float x) { return flushed(std::exp2(flushed(x))); }
float fast_rsqrt(float x) { return float(1.0 / std::sqrt(double(flushed(x)))); }

void copy_async_16(void* shared, const void* global, bool valid) {
  machine->copy(shared, global, valid);
}
void copy_commit() { machine->commit(); }
void copy_wait(int pending) { machine->wait(pending); }

void load_matrices(uint32_t (&r)[4], const void* shared_row, bool transposed) {
  machine->check_shared(shared_row, "loads a matrix row from");
  const LoadArguments arguments{r, shared_row};
  machine->stop(transposed ? Stop::kLoadMatricesTransposed : Stop::kLoadMatrices, &arguments);
}

void multiply_add(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  const MultiplyArguments arguments{d, a, {b0, b1}};
  machine->stop(Stop::kMultiplyAdd, &arguments);
}

void shuffle_bytes(void* value, size_t bytes, int source) {
  const ShuffleArguments arguments{value, bytes, source};
  machine->stop(Stop::kShuffle, &arguments);
}

void warp_sync() { machine->stop(Stop::kWarpSync); }
void block_sync() { machine->stop(Stop::kBlockSync); }

}  // namespace rora::cuda::simt
