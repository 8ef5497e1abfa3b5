#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <iterator>
#include <mutex>
#include <string>
#include <thread>

#include "api/backend.h"
#include "cpu/cpuid.h"
#include "cpu/thread_pool.h"

namespace rora {
namespace {

// From the plainest on: a name, and whether this machine can run its kernels.
struct Level {
  const char* name;
  bool usable;
  const KernelTable* (*table)();
};

// The best level the machine has, but none above the one RORA_MAX_ISA names.
const KernelTable* choose_kernels() {
  [[maybe_unused]] const CpuFeatures& cpu = cpu_features();
  const Level levels[] = {
    {"reference", true, nullptr},  // what is left when no other is
    {"portable", true, portable_kernels},
#if defined(__x86_64__)
    {"avx2", cpu.avx2, avx2_kernels},
    {"avx512", cpu.avx512, avx512_kernels},
    {"avx512bf16", cpu.avx512bf16, avx512bf16_kernels},
    {"amx", cpu.amx, [] { return request_tiles() ? amx_kernels() : nullptr; }},
#else
    {"avx2", false, nullptr},
    {"avx512", false, nullptr},
    {"avx512bf16", false, nullptr},
    {"amx", false, nullptr},
#endif
  };
  const char* cap = std::getenv("RORA_MAX_ISA");
  int highest = int(std::size(levels)) - 1;
  if (cap != nullptr && *cap != '\0') {
    while (highest >= 0 && std::strcmp(levels[highest].name, cap) != 0) --highest;
    RORA_REQUIRE(
        highest >= 0,
        "RORA_MAX_ISA=%s: must be reference, portable, avx2, avx512, avx512bf16 or amx; unset it "
        "to use the best this machine has",
        cap);
  }
  for (int i = highest; i > 0; --i) {
    const KernelTable* table = levels[i].usable ? levels[i].table() : nullptr;
    if (table != nullptr) return table;
  }
  return &reference_kernels();
}

[[noreturn]] void fail_for_backend(rora_status status, const char* message) {
  fail(status, "%s", message);
}

std::mutex folder_mutex;
std::string named_folder;  // by rora_backend_folder

// Where backends are, with a slash at its end: the folder named or librora.so's own; empty if that
// is not known.
std::string backend_folder() {
  const std::lock_guard<std::mutex> lock(folder_mutex);
  if (!named_folder.empty()) return named_folder + "/";
  Dl_info info;
  if (dladdr(reinterpret_cast<const void*>(&rora_context_open), &info) == 0) return "";
  const std::string path = info.dli_fname;
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

// The backend in a library that stands beside librora.so, which stays open.
const Backend* open_backend(const char* device, const std::string& library) {
  static const BackendServices services = {fail_for_backend};
  const std::string file = backend_folder() + library;
  void* handle = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr)
    fail(RORA_UNSUPPORTED, "device \"%s\": %s cannot be opened (%s); use \"cpu\"", device,
         library.c_str(), dlerror());
  const auto open = reinterpret_cast<OpenBackend>(dlsym(handle, kBackendSymbol));
  const Backend* backend = open == nullptr ? nullptr : open(&services);
  if (backend == nullptr || backend->layout != kBackendLayout)
    fail(RORA_UNSUPPORTED,
         "device \"%s\": %s was not built with this librora.so: build both from one checkout",
         device, file.c_str());
  return backend;
}

// The number behind "cuda:" or "simt:"; -1 if there is none.
int32_t device_index(const char* device) {
  const char* colon = std::strchr(device, ':');
  if (colon == nullptr) return -1;
  const std::string digits = colon + 1;
  RORA_REQUIRE(!digits.empty() && digits.size() <= 3 &&
                   digits.find_first_not_of("0123456789") == std::string::npos,
               "device \"%s\": a number must follow the colon, as in cuda:0", device);
  return std::stoi(digits);
}

// Sets what the context computes on.
void open_device(const char* device, rora_context& context) {
  RORA_REQUIRE(device != nullptr, "device is NULL: must be \"cpu\", \"cuda\" or \"cuda:i\"");
  const std::string kind(device, std::strcspn(device, ":"));
  if (std::strcmp(device, "cpu") == 0) {
    context.device = &cpu_device();
    context.kernels = choose_kernels();
    return;
  }
  RORA_REQUIRE(kind == "cuda" || kind == "simt",
               "device \"%s\": must be \"cpu\", \"cuda\" or \"cuda:i\"", device);
  const int32_t index = device_index(device);
  const Backend* backend = open_backend(device, "librora_" + kind + ".so");
  backend->open(context, index);
  context.device = backend->device;
  context.kernels = backend->kernels;
}

}  // namespace

void* allocate(rora_context* context, int64_t bytes) {
  RORA_REQUIRE(bytes >= 0, "bytes=%lld: must not be negative", static_cast<long long>(bytes));
  return context->device->allocate(*context, bytes);
}

void release(rora_context* context, void* memory) noexcept {
  context->device->release(*context, memory);
}

}  // namespace rora

using namespace rora;

const char* rora_version(void) { return RORA_VERSION; }

const char* rora_cpu_features(void) { return cpu_features().words.c_str(); }

rora_status rora_backend_folder(const char* folder) {
  return guard([&] {
    const std::lock_guard<std::mutex> lock(folder_mutex);
    named_folder = folder == nullptr ? "" : folder;
  });
}

rora_status rora_context_open(const char* device, int32_t threads, rora_context** context) {
  return guard([&] {
    RORA_REQUIRE(context != nullptr, "context is NULL: must point to where the handle goes");
    RORA_REQUIRE(threads >= 0 && threads <= 1024,
                 "threads=%d: must be 0 (one for each core) .. 1024", threads);
    const int32_t cores = static_cast<int32_t>(std::thread::hardware_concurrency());
    auto fresh = std::make_unique<rora_context>();
    auto pool = std::make_unique<ThreadPool>(threads > 0 ? threads : (cores > 0 ? cores : 1));
    open_device(device, *fresh);
    fresh->bytes = 0;
    fresh->pool = pool.release();
    *context = fresh.release();
  });
}

rora_status rora_context_use_stream(rora_context* context, void* stream) {
  return guard([&] {
    RORA_REQUIRE(context != nullptr, "context is NULL");
    context->device->use_stream(*context, stream);
  });
}

void rora_context_close(rora_context* context) {
  if (context == nullptr) return;
  context->device->close(*context);
  delete context->pool;
  delete context;
}

const char* rora_context_isa(const rora_context* context) {
  return context ? context->kernels->name : "";
}

int32_t rora_context_threads(const rora_context* context) {
  return context ? context->pool->threads() : 0;
}

int64_t rora_context_bytes(const rora_context* context) { return context ? context->bytes : 0; }

static int64_t device_memory(const rora_context* context, bool free) {
  int64_t total = -1, left = -1;
  if (context != nullptr && context->device->memory != nullptr)
    context->device->memory(const_cast<rora_context&>(*context), &total, &left);
  return free ? left : total;
}

int64_t rora_context_memory(const rora_context* context) { return device_memory(context, false); }

int64_t rora_context_free_memory(const rora_context* context) {
  return device_memory(context, true);
}

rora_status rora_alloc(rora_context* context, int64_t bytes, void** memory) {
  return guard([&] {
    RORA_REQUIRE(context != nullptr && memory != nullptr, "context and memory must not be NULL");
    *memory = allocate(context, bytes);
  });
}

void rora_free(rora_context* context, void* memory) {
  if (context != nullptr) release(context, memory);
}

static void check_copy(rora_context* context, const void* target, const void* source,
                       int64_t bytes) {
  RORA_REQUIRE(context != nullptr && target != nullptr && source != nullptr,
               "context, target and source must not be NULL");
  RORA_REQUIRE(bytes >= 0, "bytes=%lld: must not be negative", static_cast<long long>(bytes));
}

rora_status rora_upload(rora_context* context, void* device, const void* host, int64_t bytes) {
  return guard([&] {
    check_copy(context, device, host, bytes);
    context->device->upload(*context, device, host, bytes);
  });
}

rora_status rora_download(rora_context* context, void* host, const void* device, int64_t bytes) {
  return guard([&] {
    check_copy(context, host, device, bytes);
    context->device->download(*context, host, device, bytes);
  });
}
