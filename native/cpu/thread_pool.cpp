#include "cpu/thread_pool.h"

#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

namespace rora {
namespace {
// A worker looks this often for the next call before it sleeps: the operators of a step follow each
// other within microseconds, and waking a sleeping thread costs tens of them.
constexpr int kSpins = 4000;

inline void pause_briefly() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}
}  // namespace

struct ThreadPool::State {
  std::vector<std::thread> workers;
  std::vector<char*> scratch;
  int64_t scratch_bytes = 0;

  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<uint64_t> generation{0};  // grows with every call of run(), under the mutex
  std::atomic<bool> stopping{false};

  Task task = nullptr;
  void* argument = nullptr;
  int64_t tasks = 0;
  std::atomic<int64_t> next{0};
  std::atomic<int32_t> busy{0};  // workers that have not finished this call

  void work(int32_t thread) {
    for (int64_t i = next.fetch_add(1); i < tasks; i = next.fetch_add(1)) task(argument, i, thread);
  }

  void loop(int32_t thread) {
    uint64_t seen = 0;
    while (true) {
      for (int spin = 0; spin < kSpins && generation.load() == seen; ++spin) pause_briefly();
      if (generation.load() == seen) {
        std::unique_lock<std::mutex> lock(mutex);
        wake.wait(lock, [&] { return generation.load() != seen; });
      }
      seen = generation.load();
      if (stopping.load()) return;
      work(thread);
      busy.fetch_sub(1);
    }
  }

  void announce() {
    {
      std::lock_guard<std::mutex> lock(mutex);
      generation.fetch_add(1);
    }
    wake.notify_all();
  }

  void stop() {
    stopping.store(true);
    announce();
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
  s.busy.store(static_cast<int32_t>(s.workers.size()));
  s.announce();
  s.work(0);
  for (int spin = 0; s.busy.load() > 0; ++spin)
    if (spin < kSpins)
      pause_briefly();
    else
      std::this_thread::yield();
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
