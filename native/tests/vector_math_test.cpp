// The vector functions as the portable level has them; other levels compile the same source, and
// the tests of the layers run them there.
#define RORA_LEVEL vector_math_test
#include "cpu/simd/math.h"

#include "testing.h"

using namespace rora;
using namespace rora::testing;

namespace {

float vector_exp(float x) { return vector_math_test::exp(vector_math_test::splat(x))[0]; }

}  // namespace

TEST(expIsWithinTwoUnitsOfTheLastPlace) {
  for (int i = 0; i <= 400000; ++i) {
    const float x = -104.5f + float(i) * (193.5f / 400000);
    const double expected = std::exp(double(x));
    const float found = vector_exp(x);
    if (expected > 3.4028235e38) {
      EXPECT(found == INFINITY);
      continue;
    }
    const double unit = std::max(std::fabs(expected) * 0x1p-23, 0x1p-149);
    if (!(std::fabs(double(found) - expected) <= 2 * unit))
      EXPECT(vector_exp(x) == float(expected));
  }
}

TEST(expKeepsSpecialValues) {
  EXPECT(vector_exp(0.0f) == 1.0f);
  EXPECT(vector_exp(-INFINITY) == 0.0f);
  EXPECT(vector_exp(-1e30f) == 0.0f);
  EXPECT(vector_exp(INFINITY) == INFINITY);
  EXPECT(std::isnan(vector_exp(NAN)));
}
