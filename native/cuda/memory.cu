#include "cuda/memory.h"

#include <cstring>

namespace rora::cuda {

#if defined(__CUDACC__)

namespace {
const char* text_of(cudaError_t status) {
  return status == cudaSuccess ? "" : cudaGetErrorString(status);
}
}  // namespace

const char* open_stream(int32_t index, Stream* stream, Machine* machine) {
  int count = 0;
  cudaError_t status = cudaGetDeviceCount(&count);
  if (status == cudaErrorInsufficientDriver) {
    int version = 0;  // stays that where there is no driver
    cudaDriverGetVersion(&version);
    return version == 0
               ? "there is no NVIDIA driver"
               : "the NVIDIA driver is older than the CUDA that rora was built with: update it";
  }
  if (status != cudaSuccess) return text_of(status);
  if (index >= count) return "there is no such GPU";
  int shared = 0, processors = 0, major = 0;
  status = index < 0 ? cudaGetDevice(&index) : cudaSetDevice(index);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&shared, cudaDevAttrMaxSharedMemoryPerBlockOptin, index);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, index);
  if (status == cudaSuccess)
    status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, index);
  if (status == cudaSuccess && major >= 8)
    status = cudaStreamCreateWithFlags(stream, cudaStreamNonBlocking);
  machine->shared_limit = uint32_t(shared);
  machine->multiprocessors = processors;
  if (status == cudaSuccess && major < 8) return "it needs compute capability 8.0 (A100) or later";
  return text_of(status);
}

void close_stream(Stream stream) { cudaStreamDestroy(stream); }

void use_device(int32_t index) {
  if (index >= 0) cudaSetDevice(index);
}

const char* follow(Stream before, Stream next) {
  cudaEvent_t event = nullptr;
  cudaError_t status = cudaEventCreateWithFlags(&event, cudaEventDisableTiming);
  if (status != cudaSuccess) return text_of(status);
  // A stream of another CUDA context can wait for the event, but not record it.
  status = cudaEventRecord(event, next);
  if (status == cudaSuccess) status = cudaEventRecord(event, before);
  if (status == cudaSuccess) status = cudaStreamWaitEvent(next, event, 0);
  cudaEventDestroy(event);  // when it is done
  return text_of(status);
}

const char* finish(Stream stream) { return text_of(cudaStreamSynchronize(stream)); }

bool reaches(const void* memory) {
  cudaPointerAttributes attributes = {};
  if (cudaPointerGetAttributes(&attributes, memory) != cudaSuccess) {
    cudaGetLastError();  // so that no later call reports it
    return false;
  }
  if (attributes.type != cudaMemoryTypeUnregistered) return true;
  int device = 0, pageable = 0;  // where the GPU walks the host's page tables
  return cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&pageable, cudaDevAttrPageableMemoryAccess, device) ==
             cudaSuccess &&
         pageable != 0;
}

void* allocate_memory(Stream stream, int64_t bytes) {
  void* memory = nullptr;
  if (cudaMalloc(&memory, size_t(bytes)) != cudaSuccess) return nullptr;
  if (cudaMemsetAsync(memory, 0, size_t(bytes), stream) == cudaSuccess) return memory;
  cudaFree(memory);
  return nullptr;
}

void release_memory(Stream stream, void* memory) {
  cudaStreamSynchronize(stream);
  cudaFree(memory);
}

void memory_of(int64_t* total, int64_t* free) {
  size_t left = 0, all = 0;
  const bool known = cudaMemGetInfo(&left, &all) == cudaSuccess;
  *total = known ? int64_t(all) : -1;
  *free = known ? int64_t(left) : -1;
}

const char* upload(Stream stream, void* device, const void* host, int64_t bytes) {
  // From memory that somebody has registered the copy would go on after the call.
  const cudaError_t status =
      cudaMemcpyAsync(device, host, size_t(bytes), cudaMemcpyHostToDevice, stream);
  return text_of(status == cudaSuccess ? cudaStreamSynchronize(stream) : status);
}

const char* download(Stream stream, void* host, const void* device, int64_t bytes) {
  const cudaError_t status =
      cudaMemcpyAsync(host, device, size_t(bytes), cudaMemcpyDeviceToHost, stream);
  return text_of(status == cudaSuccess ? cudaStreamSynchronize(stream) : status);
}

const char* clear(Stream stream, void* device, int64_t bytes) {
  return text_of(cudaMemsetAsync(device, 0, size_t(bytes), stream));
}

const char* copy(Stream stream, void* target, const void* source, int64_t bytes) {
  return text_of(cudaMemcpyAsync(target, source, size_t(bytes), cudaMemcpyDeviceToDevice, stream));
}

#else

const char* open_stream(int32_t index, Stream* stream, Machine* machine) {
  if (index > 0) return "there is no such GPU";
  *stream = new simt::Stream(1);
  // So small that small models, too, meet every way of dividing work.
  *machine = {99 * 1024, 4};
  return "";
}

void close_stream(Stream stream) { delete stream; }

void use_device(int32_t) {}

// Launches run when they are made.
const char* follow(Stream, Stream) { return ""; }

const char* finish(Stream) { return ""; }

bool reaches(const void* memory) { return simt::region_of(memory).begin != nullptr; }

void* allocate_memory(Stream, int64_t bytes) {
  void* memory = simt::allocate(size_t(bytes));
  const simt::HostAccess access;
  if (memory != nullptr) std::memset(memory, 0, size_t(bytes));
  return memory;
}

void release_memory(Stream, void* memory) { simt::release(memory); }

void memory_of(int64_t* total, int64_t* free) { *total = *free = -1; }

const char* upload(Stream, void* device, const void* host, int64_t bytes) {
  const simt::HostAccess access;
  std::memcpy(device, host, size_t(bytes));
  return "";
}

const char* download(Stream, void* host, const void* device, int64_t bytes) {
  const simt::HostAccess access;
  std::memcpy(host, device, size_t(bytes));
  return "";
}

const char* clear(Stream, void* device, int64_t bytes) {
  const simt::HostAccess access;
  std::memset(device, 0, size_t(bytes));
  return "";
}

const char* copy(Stream, void* target, const void* source, int64_t bytes) {
  const simt::HostAccess access;
  std::memmove(target, source, size_t(bytes));
  return "";
}

#endif

}  // namespace rora::cuda
