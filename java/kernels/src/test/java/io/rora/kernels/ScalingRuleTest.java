package io.rora.kernels;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class ScalingRuleTest {
  @Test
  void loraDividesByTheRankAndRoraByItsRoot() {
    assertEquals(0.5, ScalingRule.LORA.gamma(8, 16));
    assertEquals(2, ScalingRule.RORA.gamma(8, 16));
  }

  @Test
  void bothAgreeAtRankOne() {
    assertEquals(ScalingRule.LORA.gamma(7, 1), ScalingRule.RORA.gamma(7, 1));
  }

  @Test
  void rankBelowOneAndAlphaThatIsNotFiniteAreRefused() {
    assertThrows(IllegalArgumentException.class, () -> ScalingRule.LORA.gamma(8, 0));
    assertThrows(IllegalArgumentException.class, () -> ScalingRule.RORA.gamma(Double.NaN, 4));
  }
}
