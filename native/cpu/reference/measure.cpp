#include "cpu/reference/reference.h"

namespace rora {

// What a plain loop reaches.
void reference_peak(PeakOp& op) {
  constexpr int kPeakSums = 8;
  const float factor = op.start[0] * 0.5f;
  float sums[kPeakSums];
  for (int i = 0; i < kPeakSums; ++i) sums[i] = op.start[i];
  for (int64_t round = 0; round < op.rounds; ++round)
    for (int i = 0; i < kPeakSums; ++i) sums[i] = sums[i] * factor + op.start[1];
  op.result = 0;
  for (int i = 0; i < kPeakSums; ++i) op.result += sums[i];
  op.flop = 2.0 * kPeakSums * double(op.rounds);
}

void reference_stream(rora_context&, const StreamOp& op) {
  double sum = 0;
  for (int64_t i = 0; i < op.count; ++i) sum += double(op.values[i]);
  *op.results = float(sum);
}

}  // namespace rora
