package io.rora.kernels;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class ActivationTest {
  private RoraContext context;

  @BeforeEach
  void open() {
    context = RoraContext.open("cpu", 2);
  }

  @AfterEach
  void close() {
    context.close();
  }

  // The last ones take several parts of the staging buffer, or make it grow.
  @ParameterizedTest
  @CsvSource({"1, 1", "3, 7", "64, 16", "65, 33", "130, 1030", "70000, 2", "2, 70001"})
  void rowsSurviveARoundTrip(int tokens, int width) {
    float[] values = Matrices.random(new Random(3), (long) tokens * width);
    Activation activation = activation(DataType.F32, tokens, width, values);
    assertArrayEquals(values, read(activation));
  }

  @Test
  void columnsAndTokensAreReadInPart() {
    float[] values = Matrices.random(new Random(4), 70 * 9);
    Activation activation = activation(DataType.F32, 70, 9, values);
    float[] part = new float[3 * 2];
    activation.read(63, 3, 5, 2, part);
    for (int token = 0; token < 3; token++) {
      assertEquals(values[(63 + token) * 9 + 5], part[token * 2]);
      assertEquals(values[(63 + token) * 9 + 6], part[token * 2 + 1]);
    }
    activation.write(8, 1, new float[70]);
    activation.read(69, 1, 7, 2, part);
    assertEquals(values[69 * 9 + 7], part[0]);
    assertEquals(0, part[1]);
  }

  @ParameterizedTest
  @EnumSource(
      value = DataType.class,
      names = {"F32", "BF16"})
  void copiesAndSumsAreFeatureByFeature(DataType type) {
    float[] values = Matrices.integers(new Random(5), 67 * 6, 50);
    Activation source = activation(type, 67, 6, values);
    Activation target = context.activation(DataType.F32, 70, 6, 0);
    target.copyFrom(source);
    assertEquals(67, target.tokens());
    assertArrayEquals(values, read(target));
    source.addTo(target);
    assertArrayEquals(Matrices.integersTimes(values, 2), read(target));
    target.clear();
    assertArrayEquals(new float[67 * 6], read(target));
  }

  @Test
  void tokensAreGathered() {
    Activation source = activation(DataType.F32, 3, 2, new float[] {1, 2, 3, 4, 5, 6});
    Activation target = activation(DataType.F32, 2, 2, new float[4]);
    source.copyTokens(2, target, 0, 1);
    source.copyTokens(0, target, 1, 1);
    assertArrayEquals(new float[] {5, 6, 1, 2}, read(target));
    assertThrows(RoraException.class, () -> source.copyTokens(2, target, 0, 2));
  }

  @Test
  void zeroTokensAreLegal() {
    Activation activation = context.activation(DataType.F32, 4, 4, 0);
    assertEquals(0, activation.tokens());
    assertArrayEquals(new float[0], read(activation));
    activation.clear();
  }

  @Test
  void brokenArgumentsAreRefused() {
    Activation activation = context.activation(DataType.F32, 4, 3, 0);
    assertThrows(RoraException.class, () -> activation.resize(5));
    activation.resize(2);
    assertThrows(RoraException.class, () -> activation.read(1, 2, 0, 3, new float[6]));
    assertThrows(RoraException.class, () -> activation.read(3, 0, 0, 3, new float[6]));
    assertThrows(IllegalArgumentException.class, () -> activation.read(0, 2, 0, 3, new float[5]));
    assertThrows(IllegalArgumentException.class, () -> activation.read(0, 1, 2, 2, new float[5]));
    assertThrows(IllegalArgumentException.class, () -> activation.write(0, 3, new float[5]));
    assertThrows(RoraException.class, () -> context.activation(DataType.F16, 4, 3, 0));
  }

  private Activation activation(DataType type, int tokens, int width, float[] values) {
    Activation activation = context.activation(type, tokens, width, 0);
    activation.resize(tokens);
    activation.write(0, width, values);
    return activation;
  }

  private static float[] read(Activation activation) {
    float[] values = new float[(int) (activation.tokens() * activation.width())];
    activation.read(0, activation.tokens(), 0, activation.width(), values);
    return values;
  }
}
