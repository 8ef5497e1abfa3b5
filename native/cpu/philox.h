// Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as
// 1, 2, 3" (SC'11). A mask is a function of its counter, so it is recomputed, never stored.
#pragma once

#include <cstdint>

namespace rora {

struct Philox4 {
  uint32_t word[4];
};

inline Philox4 philox(uint64_t seed, uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3) {
  uint32_t k0 = uint32_t(seed), k1 = uint32_t(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t(0xD2511F53u) * c0, p1 = uint64_t(0xCD9E8D57u) * c2;
    const uint32_t n0 = uint32_t(p1 >> 32) ^ c1 ^ k0, n2 = uint32_t(p0 >> 32) ^ c3 ^ k1;
    c0 = n0, c1 = uint32_t(p1), c2 = n2, c3 = uint32_t(p0);
    k0 += 0x9E3779B9u, k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// A dropout probability as the bound below which a random word drops its element.
inline uint32_t dropout_threshold(float probability) {
  return uint32_t(double(probability) * 4294967296.0);
}

// The random word of one element of a projection's input: feature f of the token with number
// `order` in the optimiser batch.
inline uint32_t dropout_word(uint64_t seed, uint64_t step, uint32_t stream, int32_t order,
                             int64_t f) {
  const Philox4 words = philox(seed, uint32_t(order), uint32_t(f >> 2), stream, uint32_t(step));
  return words.word[f & 3];
}

}  // namespace rora
