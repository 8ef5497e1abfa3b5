// Dropout masks, the same bits as on the CPU: Philox4x32-10 (Salmon et al., "Parallel random
// numbers: as easy as 1, 2, 3", SC'11) of a counter made of token, feature, stream and step. One
// call gives four neighbouring features. Reference: cpu/philox.h.
#pragma once

#include "cpu/philox.h"
#include "cuda/device.h"

namespace rora::cuda {

RORA_DEVICE void philox(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3,
                        uint32_t (&word)[4]) {
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
    c0 = uint32_t(p1 >> 32) ^ c1 ^ k0, c1 = uint32_t(p1);
    c2 = uint32_t(p0 >> 32) ^ c3 ^ k1, c3 = uint32_t(p0);
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  word[0] = c0, word[1] = c1, word[2] = c2, word[3] = c3;
}

// The mask of one projection's input.
struct Dropout {
  uint64_t seed = 0;
  uint32_t step = 0, stream = 0;
  uint32_t threshold = 0;  // a random word below it drops its element
  float scale = 1.0f;      // what others are multiplied by: 1 / (1 - p)
};

// p in [0, 1); `stream` is the projection's own, as linear.h in the API counts them. Host.
inline Dropout make_dropout(float p, uint64_t seed, uint64_t step, uint32_t stream) {
  return {seed, uint32_t(step), stream, dropout_threshold(p), 1.0f / (1.0f - p)};
}

// The factors, `scale` or 0, of features f .. f + 3 of the token with number `order` in the
// optimiser batch; f is a multiple of 4.
RORA_DEVICE void dropout_factors(const Dropout& dropout, int32_t order, int64_t f,
                                 float (&factor)[4]) {
  uint32_t word[4];
  philox(dropout.seed, uint32_t(order), uint32_t(f >> 2), dropout.stream, dropout.step, word);
  for (int i = 0; i < 4; ++i) factor[i] = word[i] >= dropout.threshold ? dropout.scale : 0.0f;
}

}  // namespace rora::cuda
