#include "api/guard.h"

#include <cstdarg>
#include <cstdio>
#include <cstring>

namespace rora {
namespace {
thread_local char last_error[1024] = "";

std::string format_message(const char* format, va_list arguments) {
  char text[sizeof last_error];
  // va_start is in the callers, which clang-tidy 14 does not see.
  std::vsnprintf(text, sizeof text, format, arguments);  // NOLINT(clang-analyzer-valist.*)
  return text;
}
}  // namespace

void set_last_error(const char* message) noexcept {
  std::snprintf(last_error, sizeof last_error, "%s", message);
}

void fail(rora_status status, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  std::string message = format_message(format, arguments);
  va_end(arguments);
  throw Error(status, std::move(message));
}

}  // namespace rora

const char* rora_last_error(void) { return rora::last_error; }
