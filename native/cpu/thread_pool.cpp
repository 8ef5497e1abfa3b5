#include "cpu/thread_pool.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace rora {
namespace {
// A worker looks this long for the next call before it sleeps: the operators of a step follow each
// other within microseconds, and waking a sleeping thread costs tens of them. Short enough that a
// core is soon free for whatever the caller does in between.
constexpr std::chrono::microseconds kPatience{100};
constexpr int kLooks = 32;  // between two looks at the clock
// So often the caller looks whether the workers' last tasks are done before it offers its core.
constexpr int kYieldAfter = 4000;

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// The gate: how many workers are inside of the present call, whether more may enter, and the call's
// number, so that one atomic operation checks and changes all three.
constexpr uint64_t kInside = 1;
constexpr uint64_t kOpen = uint64_t(1) << 20;
constexpr uint64_t kCall = uint64_t(1) << 21;

uint64_t call_of(uint64_t gate) { return gate / kCall; }
uint64_t inside_of(uint64_t gate) { return gate % kOpen; }
}  // namespace

// A call does not wait for its workers to come: the caller works too, shuts the gate when no tasks
// are left, and waits only for those inside. A worker that sleeps, or whose core somebody else has,
// thus costs the tasks that it would have run, and no more.
//
// task, argument and tasks are written while the gate is shut and nobody is inside; a worker reads
// them after it has entered, which orders it behind the opening.
struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::vector<char*> scratch;
  int64_t scratch_bytes = 0;

  Task task = nullptr;
  void* argument = nullptr;
  int64_t tasks = 0;
  // On cache lines of their own: all threads write them.
  alignas(64) std::atomic<uint64_t> gate{0};
  alignas(64) std::atomic<int64_t> next{0};

  alignas(64) std::mutex mutex;
  std::condition_variable wake;
  std::atomic<int32_t> sleepers{0};
  std::atomic<bool> stopping{false};

  void work(int32_t thread) {
    for (int64_t i = next.fetch_add(1); i < tasks; i = next.fetch_add(1)) task(argument, i, thread);
  }

  // Whether the worker that has seen call `seen` is inside of a later one now.
  bool enter(uint64_t& seen) {
    uint64_t now = gate.load();
    do {
      if (call_of(now) == seen) return false;
      if ((now & kOpen) == 0) {  // too late
        seen = call_of(now);
        return false;
      }
    } while (!gate.compare_exchange_weak(now, now + kInside));
    seen = call_of(now);
    return true;
  }

  bool has_news(uint64_t seen) const { return call_of(gate.load()) != seen || stopping.load(); }

  void await_news(uint64_t seen) {
    const auto end = std::chrono::steady_clock::now() + kPatience;
    do {
      for (int look = 0; look < kLooks; ++look) {
        if (has_news(seen)) return;
        pause_briefly();
      }
    } while (std::chrono::steady_clock::now() < end);
    std::unique_lock<std::mutex> lock(mutex);
    // Before the last look at the gate, as open_gate() looks at the sleepers after it.
    sleepers.fetch_add(1);
    wake.wait(lock, [&] { return has_news(seen); });
    sleepers.fetch_sub(1);
  }

  void loop(int32_t thread) {
    uint64_t seen = 0;
    while (true) {
      await_news(seen);
      if (stopping.load()) return;
      if (!enter(seen)) continue;
      work(thread);
      gate.fetch_sub(kInside);
    }
  }

  // Begins the next call. Nobody is inside, and nobody can enter meanwhile.
  void open_gate() {
    gate.store((call_of(gate.load()) + 1) * kCall + kOpen);
    if (sleepers.load() > 0) wake_all();
  }

  // Shuts it and waits for those inside.
  void shut_gate() {
    gate.fetch_and(~kOpen);
    for (int look = 0; inside_of(gate.load()) > 0; ++look)
      if (look < kYieldAfter)
        pause_briefly();
      else
        std::this_thread::yield();
  }

  // Whoever is about to sleep either sees what has changed or is asleep when the lock is had.
  void wake_all() {
    { const std::lock_guard<std::mutex> lock(mutex); }
    wake.notify_all();
  }

  void stop() {
    stopping.store(true);
    wake_all();
    for (std::thread& worker : workers) worker.join();
    for (char* memory : scratch) std::free(memory);
  }
};

ThreadPool::ThreadPool(int32_t threads) : state_(new State) {
  try {
    state_->scratch.resize(static_cast<size_t>(threads), nullptr);
    for (int32_t i = 1; i < threads; ++i)
      state_->workers.emplace_back([state = state_, i] { state->loop(i); });
  } catch (...) {
    state_->stop();
    delete state_;
    throw;
  }
}

ThreadPool::~ThreadPool() {
  state_->stop();
  delete state_;
}

int32_t ThreadPool::threads() const { return static_cast<int32_t>(state_->scratch.size()); }

void ThreadPool::run(int64_t tasks, Task task, void* argument) {
  if (tasks <= 0) return;
  State& s = *state_;
  if (tasks == 1 || s.workers.empty()) {
    for (int64_t i = 0; i < tasks; ++i) task(argument, i, 0);
    return;
  }
  s.task = task;
  s.argument = argument;
  s.tasks = tasks;
  s.next.store(0);
  s.open_gate();
  s.work(0);
  s.shut_gate();
}

void ThreadPool::reserve(int64_t bytes) {
  State& s = *state_;
  if (bytes <= s.scratch_bytes) return;
  const int64_t rounded = (bytes + 4095) / 4096 * 4096;
  for (char*& memory : s.scratch) {
    void* fresh = std::aligned_alloc(4096, static_cast<size_t>(rounded));
    if (fresh == nullptr) throw std::bad_alloc();
    std::free(memory);
    memory = static_cast<char*>(fresh);
  }
  s.scratch_bytes = rounded;
}

char* ThreadPool::scratch(int32_t thread) { return state_->scratch[static_cast<size_t>(thread)]; }

}  // namespace rora
