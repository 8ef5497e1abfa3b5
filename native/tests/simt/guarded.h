// Memory of an exact size between guards. For simt.cpp alone.
#pragma once

#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstring>
#include <new>
#include <string>

#include "fiber.h"

namespace rora::cuda::simt {

//   | no access | before | bytes | after | no access |     both ends of the middle are page ends
//
// `after` is shorter than twice the alignment. AddressSanitizer sees every access to `before` and
// `after`; without it they hold a pattern of NaNs, and altered() tells whether somebody has written
// there.
class Guarded {
 public:
  // The bytes are 0xff. Aligned to `alignment`, a power of two, and not to twice that.
  Guarded(size_t bytes, size_t alignment) : bytes_(bytes) {
    const size_t page = size_t(sysconf(_SC_PAGESIZE));
    const size_t needed = bytes + 2 * alignment;
    if (needed < bytes || needed > size_t(1) << 46) throw std::bad_alloc();
    inner_ = (needed + page - 1) / page * page;
    mapped_ = inner_ + 2 * page;
    void* const memory = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    start_ = static_cast<std::byte*>(memory);
    mprotect(start_, page, PROT_NONE);
    mprotect(start_ + mapped_ - page, page, PROT_NONE);
    before_ = start_ + page;
    const size_t from_end = (bytes + alignment - 1) / alignment * alignment;
    data_ = before_ + inner_ - from_end;
    if (reinterpret_cast<uintptr_t>(data_) % (2 * alignment) == 0) data_ -= alignment;
    std::memset(data_, 0xff, bytes);
    guard();
  }
  ~Guarded() {
#if defined(RORA_SIMT_ADDRESS_SANITIZER)
    __asan_unpoison_memory_region(before_, inner_);
#endif
    munmap(start_, mapped_);
  }
  Guarded(const Guarded&) = delete;
  Guarded& operator=(const Guarded&) = delete;

  std::byte* data() const { return data_; }
  size_t bytes() const { return bytes_; }
  bool holds(const void* address, size_t bytes) const {
    const std::byte* const first = static_cast<const std::byte*>(address);
    return first >= data_ && bytes <= bytes_ && first <= data_ + (bytes_ - bytes);
  }

  // Whether anybody may read and write the bytes.
  void open(bool open) const {
    mprotect(before_, inner_, open ? PROT_READ | PROT_WRITE : PROT_NONE);
  }

  // Says where somebody wrote outside, "" if nowhere, and mends it.
  std::string altered() {
#if !defined(RORA_SIMT_ADDRESS_SANITIZER)
    for (const std::byte* at = data_; at-- > before_;)
      if (*at != canary(at)) return mended(at);
    for (const std::byte* at = data_ + bytes_; at < before_ + inner_; ++at)
      if (*at != canary(at)) return mended(at);
#endif
    return "";
  }

 private:
  // NaN as a float and as a bf16.
  static std::byte canary(const std::byte* at) {
    return std::byte(reinterpret_cast<uintptr_t>(at) % 2 == 0 ? 0xa5 : 0xff);
  }

  std::string mended(const std::byte* at) {
    guard();
    return "somebody wrote at byte " + std::to_string(at - data_);
  }

  void guard() {
    std::byte* const after = data_ + bytes_;
#if defined(RORA_SIMT_ADDRESS_SANITIZER)
    __asan_poison_memory_region(before_, size_t(data_ - before_));
    __asan_poison_memory_region(after, size_t(before_ + inner_ - after));
#else
    for (std::byte* at = before_; at < data_; ++at) *at = canary(at);
    for (std::byte* at = after; at < before_ + inner_; ++at) *at = canary(at);
#endif
  }

  size_t bytes_, inner_, mapped_;
  std::byte* start_;
  std::byte* before_;
  std::byte* data_;
};

}  // namespace rora::cuda::simt
