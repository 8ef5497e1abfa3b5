// A fixed set of threads that run numbered tasks. The caller computes too. Which thread runs a task
// is not determined; a kernel must give each output to one task, and results do not depend on it.
#pragma once

#include <cstdint>

namespace rora {

class ThreadPool {
 public:
  explicit ThreadPool(int32_t threads);  // >= 1, the caller's included
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int32_t threads() const;

  // Runs task(argument, i, thread) for i in [0, tasks); returns when all are done. A task must not
  // throw and must not call run().
  using Task = void (*)(void* argument, int64_t index, int32_t thread);
  void run(int64_t tasks, Task task, void* argument);

  // Scratch of one thread, kept between calls and grown when needed; contents are undefined. Throws
  // std::bad_alloc. To be asked for before run(), for all threads at once, as tasks must not throw.
  void reserve(int64_t bytes);
  char* scratch(int32_t thread);

 private:
  struct State;
  State* state_;
};

// Runs body(i, thread) on the pool, for any callable that does not throw.
template <class Body>
inline void parallel(ThreadPool& pool, int64_t tasks, const Body& body) {
  pool.run(
      tasks,
      [](void* argument, int64_t index, int32_t thread) {
        (*static_cast<const Body*>(argument))(index, thread);
      },
      const_cast<Body*>(&body));
}

}  // namespace rora
