// target = source  or  target += source, row by row.
//
//   row | pp... | pp... |    A block owns 256 packs of one row, a thread one of them: 16 bytes of
//   the
//                             wider of the two types.
//
// Traffic: each operand once. No shared memory. Reference: cpu/reference/convert.cpp, and
// reference_add in cpu/reference/reference_table.cpp.
#include "cuda/convert.h"

#include "cuda/rows.h"

namespace rora::cuda {
namespace {

constexpr int kThreads = 256;

template <class Source, class Target, int N>
__global__ void __launch_bounds__(kThreads) convert_rows_kernel(ConvertRows<Source, Target> op) {
  const int64_t f = (int64_t(blockIdx.y) * blockDim.x + threadIdx.x) * N, rest = op.columns - f;
  if (rest <= 0) return;
  float v[N];
  load(op.source + blockIdx.x * op.source_pitch + f, rest, v);
  Target* target = op.target + blockIdx.x * op.target_pitch + f;
  if (op.add) {
    float sum[N];
    load(target, rest, sum);
    for (int i = 0; i < N; ++i) v[i] += sum[i];
  }
  store(target, rest, v);
}

template <class Source, class Target, int N>
const char* launch_packs(Stream stream, const ConvertRows<Source, Target>& op) {
  const int64_t packs = blocks_of(op.columns, N);
  const uint32_t threads = block_for(packs, kThreads);
  return launch(convert_rows_kernel<Source, Target, N>,
                {uint32_t(op.rows), uint32_t(blocks_of(packs, threads))}, threads, 0, stream, op);
}

}  // namespace

template <class Source, class Target>
const char* convert_rows(Stream stream, const ConvertRows<Source, Target>& op) {
  if (op.rows == 0 || op.columns == 0) return "";
  // Of two types the wider fills 16 bytes, so that both are read and written without gaps.
  constexpr int N = kPack<Source> < kPack<Target> ? kPack<Source> : kPack<Target>;
  return packs_fit(op.source, op.source_pitch) && packs_fit(op.target, op.target_pitch)
             ? launch_packs<Source, Target, N>(stream, op)
             : launch_packs<Source, Target, 1>(stream, op);
}

template const char* convert_rows(Stream, const ConvertRows<float, float>&);
template const char* convert_rows(Stream, const ConvertRows<float, bf16>&);
template const char* convert_rows(Stream, const ConvertRows<bf16, float>&);
template const char* convert_rows(Stream, const ConvertRows<bf16, bf16>&);

}  // namespace rora::cuda
