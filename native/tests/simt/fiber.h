// Fibers: threads of execution that one thread changes between, each on a stack of its own. For
// simt.cpp alone.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <new>

#if defined(__SANITIZE_ADDRESS__)
#define RORA_SIMT_ADDRESS_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define RORA_SIMT_ADDRESS_SANITIZER 1
#endif
#endif

#if defined(RORA_SIMT_ADDRESS_SANITIZER)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

#if !defined(__x86_64__) || !defined(__ELF__)
#define RORA_SIMT_UCONTEXT 1
#endif

#if defined(RORA_SIMT_UCONTEXT)
#include <ucontext.h>
#else
// Pushes the registers that a function must keep, stores the stack pointer at `from`, and goes on
// where `to` was stored.
extern "C" void rora_simt_switch(void** from, void* to);
asm(R"(
.pushsection .text
.p2align 4
.local rora_simt_switch
.type rora_simt_switch, @function
rora_simt_switch:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size rora_simt_switch, . - rora_simt_switch
.popsection
)");
#endif

namespace rora::cuda::simt {

class Fiber {
 public:
  Fiber() = default;
  ~Fiber() {
    if (stack_ != nullptr) munmap(stack_, kGuard + kStack);
  }
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // Makes the next enter() call `body`, which must never return. What the fiber did before is
  // forgotten.
  void start(void (*body)()) {
    if (stack_ == nullptr) make_stack();
    std::byte* const bottom = stack_ + kGuard;
#if defined(RORA_SIMT_ADDRESS_SANITIZER)
    __asan_unpoison_memory_region(bottom, kStack);  // frames of a launch that ended early
    fake_stack_ = nullptr;
#endif
#if defined(RORA_SIMT_UCONTEXT)
    getcontext(&context_);
    context_.uc_stack.ss_sp = bottom;
    context_.uc_stack.ss_size = kStack;
    context_.uc_link = nullptr;
    makecontext(&context_, body, 0);
#else
    // The frame that rora_simt_switch pops: six registers, the address it returns to, and one word
    // where body's caller would be.
    void** const top = reinterpret_cast<void**>(bottom + kStack) - 8;
    for (int i = 0; i < 8; ++i) top[i] = nullptr;
    top[6] = reinterpret_cast<void*>(body);
    stack_pointer_ = top;
#endif
  }

  // Runs the fiber until it calls leave().
  void enter() {
#if defined(RORA_SIMT_ADDRESS_SANITIZER)
    void* caller_fake_stack = nullptr;
    __sanitizer_start_switch_fiber(&caller_fake_stack, stack_ + kGuard, kStack);
#endif
#if defined(RORA_SIMT_UCONTEXT)
    swapcontext(&caller_, &context_);
#else
    rora_simt_switch(&caller_, stack_pointer_);
#endif
#if defined(RORA_SIMT_ADDRESS_SANITIZER)
    __sanitizer_finish_switch_fiber(caller_fake_stack, nullptr, nullptr);
#endif
  }

  // On the fiber, first thing in its body.
  void entered() {
#if defined(RORA_SIMT_ADDRESS_SANITIZER)
    __sanitizer_finish_switch_fiber(fake_stack_, &caller_stack_, &caller_stack_bytes_);
#endif
  }

  // On the fiber: goes back to who entered it.
  void leave() {
#if defined(RORA_SIMT_ADDRESS_SANITIZER)
    __sanitizer_start_switch_fiber(&fake_stack_, caller_stack_, caller_stack_bytes_);
#endif
#if defined(RORA_SIMT_UCONTEXT)
    swapcontext(&context_, &caller_);
#else
    rora_simt_switch(&stack_pointer_, caller_);
#endif
    entered();
  }

 private:
#if defined(RORA_SIMT_ADDRESS_SANITIZER)
  static constexpr size_t kStack = 256 << 10;  // frames have red zones around every array
#else
  static constexpr size_t kStack = 64 << 10;
#endif
  static constexpr size_t kGuard = 64 << 10;  // the largest page there is

  void make_stack() {
    void* const memory = mmap(nullptr, kGuard + kStack, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    stack_ = static_cast<std::byte*>(memory);
    mprotect(stack_, kGuard, PROT_NONE);
  }

  std::byte* stack_ = nullptr;
#if defined(RORA_SIMT_UCONTEXT)
  ucontext_t context_, caller_;
#else
  void* stack_pointer_ = nullptr;
  void* caller_ = nullptr;
#endif
#if defined(RORA_SIMT_ADDRESS_SANITIZER)
  void* fake_stack_ = nullptr;
  const void* caller_stack_ = nullptr;
  size_t caller_stack_bytes_ = 0;
#endif
};

}  // namespace rora::cuda::simt
