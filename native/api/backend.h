// A device that lives in a library of its own: librora_cuda.so, or, for tests, librora_simt.so,
// which librora.so opens when a context asks for it.
#pragma once

#include "api/device.h"

namespace rora {

// What the library calls in librora.so, so that exceptions are thrown and caught there.
struct BackendServices {
  void (*fail)(rora_status status, const char* message);  // throws
};

// Tells libraries apart that were not built together.
constexpr uint64_t kBackendLayout =
    (sizeof(Device) * 4096 + sizeof(KernelTable)) * 4096 + sizeof(rora_context);

struct Backend {
  uint64_t layout;  // kBackendLayout of the library: another one's structs are not these
  const Device* device;
  const KernelTable* kernels;
  // Fills context.backend; throws by the services' fail. Index -1: the thread's current device.
  void (*open)(rora_context& context, int32_t index);
};

// The one symbol of such a library.
using OpenBackend = const Backend* (*)(const BackendServices*);
constexpr const char* kBackendSymbol = "rora_backend";

}  // namespace rora
