// The words of CUDA C++ that are neither C++ nor in cuda/device.h, for a host compiler: with them a
// .cu file is C++ that runs on the emulation of simt.h.
#pragma once

#include <math.h>
#include <string.h>

#include <cstdint>

#include "tests/simt/simt.h"

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)

namespace rora::cuda {

using simt::blockDim;
using simt::blockIdx;
using simt::gridDim;
using simt::threadIdx;

// CUDA's vectors: what one load or store moves.
struct alignas(8) uint2 {
  uint32_t x, y;
};
struct alignas(16) uint4 {
  uint32_t x, y, z, w;
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
inline uint2 make_uint2(uint32_t x, uint32_t y) { return {x, y}; }
inline uint4 make_uint4(uint32_t x, uint32_t y, uint32_t z, uint32_t w) { return {x, y, z, w}; }
inline float2 make_float2(float x, float y) { return {x, y}; }
inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }

}  // namespace rora::cuda
