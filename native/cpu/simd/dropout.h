// Dropout masks of panel rows (linear.h in the API says what they are; cpu/philox.h is the
// generator).
#pragma once

#include "cpu/simd/vec.h"

namespace rora::RORA_LEVEL {

struct Dropout {
  uint64_t seed, step;
  uint32_t threshold;
  float scale;           // 1 / (1 - p)
  const int32_t* order;  // the batch's
};

constexpr int kMaskLanes = 16;

// Random words of features f .. f + 3 for kMaskLanes tokens, lanes innermost so that it vectorises.
static inline void mask_words(const Dropout& dropout, uint32_t stream, const int32_t* order,
                              int64_t f, uint32_t (*words)[kMaskLanes]) {
  uint32_t c0[kMaskLanes], c1[kMaskLanes], c2[kMaskLanes], c3[kMaskLanes];
  uint32_t k0 = uint32_t(dropout.seed), k1 = uint32_t(dropout.seed >> 32);
  for (int i = 0; i < kMaskLanes; ++i) {
    c0[i] = uint32_t(order[i]), c1[i] = uint32_t(f >> 2), c2[i] = stream;
    c3[i] = uint32_t(dropout.step);
  }
  for (int round = 0; round < 10; ++round) {
    for (int i = 0; i < kMaskLanes; ++i) {
      const uint64_t p0 = uint64_t(0xD2511F53u) * c0[i], p1 = uint64_t(0xCD9E8D57u) * c2[i];
      c0[i] = uint32_t(p1 >> 32) ^ c1[i] ^ k0;
      c2[i] = uint32_t(p0 >> 32) ^ c3[i] ^ k1;
      c1[i] = uint32_t(p1), c3[i] = uint32_t(p0);
    }
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  for (int i = 0; i < kMaskLanes; ++i)
    words[0][i] = c0[i], words[1][i] = c1[i], words[2][i] = c2[i], words[3][i] = c3[i];
}

// mask[i * kPanel + lane] = scale or 0 for features [f, f + count) of a panel; f is a multiple of 4
// and there is room for count rounded up to 4 rows.
static inline void mask_rows(const Dropout& dropout, uint32_t stream, int64_t panel, int64_t f,
                             int64_t count, float* mask) {
  uint32_t words[4][kMaskLanes];
  for (int64_t i = 0; i < count; i += 4)
    for (int lane = 0; lane < kPanel; lane += kMaskLanes) {
      mask_words(dropout, stream, dropout.order + panel * kPanel + lane, f + i, words);
      for (int row = 0; row < 4; ++row)
        for (int j = 0; j < kMaskLanes; ++j)
          mask[(i + row) * kPanel + lane + j] =
              words[row][j] >= dropout.threshold ? dropout.scale : 0.0f;
    }
}

}  // namespace rora::RORA_LEVEL
