package io.rora.kernels;

import static io.rora.kernels.LinearSample.padded;
import static io.rora.kernels.Matrices.assertWithin;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.kernels.LinearSample.Expected;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LinearTest {
  private static final long SEED = 20_501_043_15L;

  // 16 floats fill an AVX-512 register and 64 tokens a panel: sizes on both sides, and sizes that
  // no
  // tile divides.
  @ParameterizedTest
  @CsvSource({
    "1, 1, 1, 1",
    "3, 15, 5, 2",
    "4, 16, 64, 16",
    "33, 31, 17, 8",
    "7, 129, 40, 64",
    "65, 48, 33, 3"
  })
  void forwardAndBackwardMatchDoubleReference(int tokens, int in, int out, int rank) {
    checkBoth(LinearSample.random(tokens, in, out, rank, SEED), UnaryOperator.identity());
  }

  @ParameterizedTest
  @CsvSource({"2, 3, 5, 1", "5, 17, 18, 4", "67, 33, 20, 9"})
  void smallIntegersAreExact(int tokens, int in, int out, int rank) {
    checkBoth(LinearSample.integers(tokens, in, out, rank, SEED), LinearSample::exact);
  }

  private static void checkBoth(LinearSample s, UnaryOperator<Expected> tolerance) {
    try (RoraContext context = RoraContext.open("cpu", 2)) {
      FloatMatrix a = padded(context, s.rank(), s.in(), s.a());
      FloatMatrix b = padded(context, s.out(), s.rank(), s.b());
      Linear linear = new Linear(s.weight(context), a, b, s.scaling());
      FloatMatrix x = padded(context, s.tokens(), s.in(), s.x());
      FloatMatrix h = padded(context, s.tokens(), s.rank(), null);
      FloatMatrix y = padded(context, s.tokens(), s.out(), null);
      linear.forward(x, h, y);
      check("h", h, tolerance.apply(s.h()));
      check("y", y, tolerance.apply(s.y()));

      FloatMatrix dy = padded(context, s.tokens(), s.out(), s.dy());
      FloatMatrix dA = padded(context, s.rank(), s.in(), null);
      FloatMatrix dB = padded(context, s.out(), s.rank(), null);
      FloatMatrix dx = padded(context, s.tokens(), s.in(), null);
      linear.backward(x, h, dy, dA, dB, dx);
      check("dA", dA, tolerance.apply(s.dA()));
      check("dB", dB, tolerance.apply(s.dB()));
      check("dx", dx, tolerance.apply(s.dx()));
    }
  }

  /** Compares the values, and sees that the NaN between the rows is still there. */
  private static void check(String name, FloatMatrix found, Expected expected) {
    assertWithin(name, found.toArray(), expected.values(), expected.bound());
    float[] all = new float[(int) found.memory().length()];
    found.memory().read(0, all, 0, all.length);
    for (int i = 0; i < all.length; i++) {
      if (i % found.stride() >= found.columns()) {
        assertTrue(Float.isNaN(all[i]), name + ": padding at " + i + " became " + all[i]);
      }
    }
  }

  @Test
  void zeroTokensWriteNothing() {
    LinearSample s = LinearSample.random(0, 6, 4, 2, SEED);
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      FloatMatrix a = padded(context, s.rank(), s.in(), s.a());
      FloatMatrix b = padded(context, s.out(), s.rank(), s.b());
      Linear linear = new Linear(s.weight(context), a, b, 1);
      FloatMatrix x = context.matrix(0, 6);
      FloatMatrix h = context.matrix(0, 2);
      FloatMatrix y = context.matrix(0, 4);
      linear.forward(x, h, y);
      FloatMatrix dA = padded(context, 2, 6, new float[12]);
      FloatMatrix dB = padded(context, 4, 2, new float[8]);
      linear.backward(x, h, y, dA, dB, context.matrix(0, 6));
      assertArrayEquals(new float[12], dA.toArray());
      assertArrayEquals(new float[8], dB.toArray());
    }
  }

  @Test
  void inputGradientMayBeLeftOut() {
    LinearSample s = LinearSample.integers(5, 6, 4, 2, SEED);
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      FloatMatrix a = padded(context, s.rank(), s.in(), s.a());
      FloatMatrix b = padded(context, s.out(), s.rank(), s.b());
      Linear linear = new Linear(s.weight(context), a, b, s.scaling());
      FloatMatrix x = padded(context, 5, 6, s.x());
      FloatMatrix h = padded(context, 5, 2, null);
      FloatMatrix y = padded(context, 5, 4, null);
      linear.forward(x, h, y);
      FloatMatrix dA = padded(context, 2, 6, null);
      FloatMatrix dB = padded(context, 4, 2, null);
      linear.backward(x, h, padded(context, 5, 4, s.dy()), dA, dB, null);
      check("dA", dA, LinearSample.exact(s.dA()));
      check("dB", dB, LinearSample.exact(s.dB()));
    }
  }

  @Test
  void zeroLoraBLeavesTheBaseBitForBit() {
    LinearSample s = LinearSample.random(9, 20, 12, 4, SEED);
    try (RoraContext context = RoraContext.open("cpu", 2)) {
      Weight weight = s.weight(context);
      FloatMatrix x = padded(context, 9, 20, s.x());
      FloatMatrix h = context.matrix(9, 4);
      FloatMatrix with = context.matrix(9, 12);
      FloatMatrix without = context.matrix(9, 12);
      FloatMatrix zeroB = context.matrix(12, 4);
      new Linear(weight, padded(context, 4, 20, s.a()), zeroB, 3).forward(x, h, with);
      new Linear(weight, context.matrix(4, 20), zeroB, 3).forward(x, h, without);
      assertArrayEquals(without.toArray(), with.toArray());
    }
  }

  @Test
  void roraAtAlphaEqualsLoraAtAlphaTimesRootOfRank() {
    LinearSample s = LinearSample.random(9, 20, 12, 16, SEED);
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      Weight weight = s.weight(context);
      FloatMatrix a = padded(context, 16, 20, s.a());
      FloatMatrix b = padded(context, 12, 16, s.b());
      FloatMatrix x = padded(context, 9, 20, s.x());
      FloatMatrix rora = context.matrix(9, 12);
      FloatMatrix lora = context.matrix(9, 12);
      FloatMatrix h = context.matrix(9, 16);
      new Linear(weight, a, b, ScalingRule.RORA.gamma(8, 16)).forward(x, h, rora);
      new Linear(weight, a, b, ScalingRule.LORA.gamma(8 * 4, 16)).forward(x, h, lora);
      assertArrayEquals(lora.toArray(), rora.toArray());
    }
  }

  @Test
  void wrongShapesAreNamed() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      Weight weight = context.weight(DataType.F32, 4, 6);
      FloatMatrix a = context.matrix(2, 6);
      FloatMatrix b = context.matrix(4, 2);
      assertEquals(
          "lora_B is [4, 3]: must be [4, 2]",
          assertThrows(
                  IllegalArgumentException.class,
                  () -> new Linear(weight, a, context.matrix(4, 3), 1))
              .getMessage());
      Linear linear = new Linear(weight, a, b, 1);
      FloatMatrix x = context.matrix(5, 6);
      FloatMatrix h = context.matrix(5, 2);
      assertEquals(
          "y is [4, 4]: must be [5, 4]",
          assertThrows(
                  IllegalArgumentException.class, () -> linear.forward(x, h, context.matrix(4, 4)))
              .getMessage());
    }
  }

  @Test
  void overlappingResultsAreRefused() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      Weight weight = context.weight(DataType.F32, 6, 6);
      Linear linear = new Linear(weight, context.matrix(2, 6), context.matrix(6, 2), 1);
      FloatMatrix x = context.matrix(5, 6);
      assertThrows(RoraException.class, () -> linear.forward(x, context.matrix(5, 2), x));
    }
  }
}
