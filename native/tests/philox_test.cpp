#include "cpu/philox.h"

#include "testing.h"

using namespace rora;

// The known answers of Random123 (kat_vectors, philox4x32 10).
TEST(philoxGivesThePublishedWords) {
  const Philox4 zeros = philox(0, 0, 0, 0, 0);
  const uint32_t expected_zeros[4] = {0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u};
  const Philox4 ones =
      philox(0xffffffffffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu, 0xffffffffu);
  const uint32_t expected_ones[4] = {0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu};
  for (int i = 0; i < 4; ++i) {
    EXPECT(zeros.word[i] == expected_zeros[i]);
    EXPECT(ones.word[i] == expected_ones[i]);
  }
}
