// Every entry point runs inside guard(): whatever is thrown becomes a status and a message.
#pragma once

#include <exception>
#include <new>
#include <string>

#include "rora/rora.h"

namespace rora {

// Thrown by checks; carries the status to return.
class Error : public std::exception {
 public:
  Error(rora_status status, std::string message) : status_(status), message_(std::move(message)) {}
  rora_status status() const { return status_; }
  const char* what() const noexcept override { return message_.c_str(); }

 private:
  rora_status status_;
  std::string message_;
};

// Formats like printf. A message gives the value, the rule and the remedy:
//   RORA_REQUIRE(ldb >= rank, "ldb=%lld: must be at least rank (%lld)", ...)
[[noreturn]] __attribute__((format(printf, 2, 3))) void fail(rora_status status, const char* format,
                                                             ...);

// The checks of entry points. A macro, so that the values of the message are looked at only when it
// is needed (a NULL among them, say), and static analysis knows what holds behind the check.
#define RORA_REQUIRE(holds, ...) \
  ((holds) ? void() : ::rora::fail(RORA_INVALID_ARGUMENT, __VA_ARGS__))

void set_last_error(const char* message) noexcept;

template <class Body>
rora_status guard(Body&& body) noexcept {
  try {
    body();
    return RORA_OK;
  } catch (const Error& error) {
    set_last_error(error.what());
    return error.status();
  } catch (const std::bad_alloc&) {
    set_last_error("out of memory");
    return RORA_OUT_OF_MEMORY;
  } catch (const std::exception& error) {
    set_last_error(error.what());
    return RORA_INTERNAL;
  } catch (...) {
    set_last_error("unknown failure");
    return RORA_INTERNAL;
  }
}

// a * b >= 0, or INT64_MAX where that overflows: no memory has room for it.
inline int64_t product_or_max(int64_t a, int64_t b) {
  int64_t product = 0;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

// Device memory, counted in the context, aligned to 64 bytes and zeroed. Throws on failure.
void* allocate(rora_context* context, int64_t bytes);
void release(rora_context* context, void* memory) noexcept;

}  // namespace rora
