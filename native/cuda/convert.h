// Rows copied, converted between float and bf16, and added: row-major arrays to and from pitched
// rows, one activation onto another, the bf16 copies of an adapter's A and B.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"

namespace rora::cuda {

// target = source, or with `add` target += source, summed in float; rounded to nearest even.
template <class Source, class Target>
struct ConvertRows {
  int64_t rows, columns;
  const Source* source;
  int64_t source_pitch;
  Target* target;
  int64_t target_pitch;
  bool add;
};

template <class Source, class Target>
const char* convert_rows(Stream stream, const ConvertRows<Source, Target>& op);

}  // namespace rora::cuda
