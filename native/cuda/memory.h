// Memory of a GPU and its stream: the CUDA runtime's calls, or the emulation's. All work is queued
// on one stream at a time. Functions that return text return "" or what was wrong.
#pragma once

#include <cstdint>

#include "cuda/launch.h"
#include "cuda/machine.h"

namespace rora::cuda {

// Makes GPU number `index` the thread's and opens a stream on it; -1: on the thread's, in the CUDA
// context that is current.
const char* open_stream(int32_t index, Stream* stream, Machine* machine);
void close_stream(Stream stream);
// Makes a GPU the thread's; a negative number leaves the caller's choice.
void use_device(int32_t index);
// What is queued on `next` from now on runs after what is on `before`. Both must be of the CUDA
// context that is current.
const char* follow(Stream before, Stream next);
const char* finish(Stream stream);

// Whether kernels may use the memory at this address.
bool reaches(const void* memory);

// Zeroed memory aligned to 256 bytes, or NULL.
void* allocate_memory(Stream stream, int64_t bytes);
// After everything queued is done.
void release_memory(Stream stream, void* memory);

// Bytes in all and free; -1 if they are not known, or the host's.
void memory_of(int64_t* total, int64_t* free);

// Both wait until the copy is done.
const char* upload(Stream stream, void* device, const void* host, int64_t bytes);
const char* download(Stream stream, void* host, const void* device, int64_t bytes);
const char* clear(Stream stream, void* device, int64_t bytes);
const char* copy(Stream stream, void* target, const void* source, int64_t bytes);

}  // namespace rora::cuda
