// Starting kernels: launch(kernel, grid, block, shared bytes, stream, op). Every kernel takes one
// struct, its op. The same call starts the emulation where there is no nvcc.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#include <cuda_runtime.h>
#else
#include "tests/simt/cuda_words.h"
#endif

namespace rora::cuda {

#if defined(__CUDACC__)
using Stream = cudaStream_t;
#else
using Stream = simt::Stream*;
#endif

struct Grid {
  uint32_t x = 1, y = 1, z = 1;
};

// Returns an empty string, or what was wrong: the name of the CUDA error or, emulated, the finding.
// Never synchronises a GPU; errors of the kernel itself come with a later call.
#if defined(__CUDACC__)
template <class Op>
const char* launch(void (*kernel)(Op), Grid grid, uint32_t block, uint32_t shared_bytes,
                   Stream stream, const Op& op) {
  if (shared_bytes > 48 * 1024) {
    // Without this a block gets no more than 48 KB.
    const cudaError_t status = cudaFuncSetAttribute(
        kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
    if (status != cudaSuccess) return cudaGetErrorString(status);
  }
  Op copy = op;
  void* arguments[] = {&copy};
  const cudaError_t status =
      cudaLaunchKernel(reinterpret_cast<const void*>(kernel), dim3(grid.x, grid.y, grid.z),
                       dim3(block), arguments, shared_bytes, stream);
  return status == cudaSuccess ? "" : cudaGetErrorString(status);
}
#else
template <class Op>
const char* launch(void (*kernel)(Op), Grid grid, uint32_t block, uint32_t shared_bytes,
                   Stream stream, const Op& op) {
  return simt::launch({[kernel, op] { kernel(op); },
                       reinterpret_cast<const void*>(kernel),
                       &op,
                       sizeof op,
                       {grid.x, grid.y, grid.z},
                       block,
                       shared_bytes},
                      stream);
}
#endif

}  // namespace rora::cuda
