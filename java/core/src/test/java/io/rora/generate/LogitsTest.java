package io.rora.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class LogitsTest {
  @Test
  void theFirstOfEqualLogitsIsBest() {
    assertEquals(1, Logits.best(new float[] {0, 2, 2, 1}));
  }

  @Test
  void rowsThatAreNotFiniteAreRefused() {
    float[] nothing = {Float.NaN, Float.NaN};
    assertThrows(IllegalStateException.class, () -> Logits.best(nothing));
    assertThrows(
        IllegalStateException.class,
        () -> Logits.logSoftmax(new float[] {0, Float.POSITIVE_INFINITY}));
  }

  @Test
  void logProbabilitiesSumToOne() {
    float[] row = {1, 2, 3, -4};
    Logits.logSoftmax(row);
    double sum = 0;
    for (float value : row) {
      sum += Math.exp(value);
    }
    assertEquals(1, sum, 1e-6);
  }
}
