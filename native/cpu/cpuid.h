// Which instruction sets this machine and its operating system support.
#pragma once

#include <string>

namespace rora {

struct CpuFeatures {
  bool avx2 = false;        // with FMA and F16C
  bool avx512 = false;      // F, BW, DQ and VL
  bool avx512bf16 = false;  // with avx512
  bool amx = false;         // TILE and BF16, with avx512bf16
  std::string words;        // as rora_cpu_features() lists them
};

const CpuFeatures& cpu_features();

// Asks the system for the tile registers, which cost each thread 8 KB where it saves them; for the
// whole process, and for good. False where a signal stack is too small for them, or the kernel old.
bool request_tiles();

}  // namespace rora
