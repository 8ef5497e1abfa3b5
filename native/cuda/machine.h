// What the host functions must know of a GPU to choose tiles. Results do not depend on it beyond
// the order of sums, and are the same bits wherever it is the same.
#pragma once

#include <cstdint>

namespace rora::cuda {

struct Machine {
  uint32_t shared_limit = 99 * 1024;  // bytes of shared memory that a block may have
  int32_t multiprocessors = 108;
};

}  // namespace rora::cuda
