package io.rora.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.kernels.DataType;
import java.util.Map;
import org.junit.jupiter.api.Test;

class AgreementTest {
  private static final Map<String, float[]> EXPECTED = Map.of("y", new float[] {3, 4});

  @Test
  void differenceIsRelativeToTheNorm() {
    assertEquals(0.2, Agreement.difference(new float[] {3, 5}, new float[] {3, 4}), 1e-12);
  }

  @Test
  void otherWorkIsRefused() {
    for (float[] wrong : new float[][] {{3, 5}, {3, Float.NaN}, {3}, {3, -4}}) {
      IllegalStateException e =
          assertThrows(
              IllegalStateException.class,
              () -> Agreement.check("peer", Map.of("y", wrong), EXPECTED, DataType.BF16));
      assertTrue(e.getMessage().startsWith("peer and rora differ in y by"), e.getMessage());
    }
    assertThrows(
        IllegalStateException.class,
        () -> Agreement.check("peer", Map.of(), EXPECTED, DataType.F32));
  }

  @Test
  void roundingIsAllowed() {
    Map<String, float[]> rounded = Map.of("y", new float[] {3.01f, 4});
    Agreement.check("peer", rounded, EXPECTED, DataType.BF16);
    assertThrows(
        IllegalStateException.class,
        () -> Agreement.check("peer", rounded, EXPECTED, DataType.F32));
  }
}
