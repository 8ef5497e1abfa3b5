package io.rora.kernels;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class FloatArrayTest {
  private RoraContext context;

  @BeforeEach
  void open() {
    context = RoraContext.open("cpu", 1);
  }

  @AfterEach
  void close() {
    context.close();
  }

  @Test
  void startsAtZeroAndAligned() {
    FloatArray array = context.floats(100);
    assertArrayEquals(new float[100], all(array));
    assertEquals(0, array.address() % 64);
  }

  @Test
  void longArraysSurviveARoundTrip() {
    int length = 200_003; // several parts of the staging buffer and a rest
    float[] values = Matrices.random(new Random(1), length + 5);
    FloatArray array = context.floats(length);
    array.write(0, values, 5, length);
    float[] back = new float[length + 2];
    array.read(0, back, 2, length);
    for (int i = 0; i < length; i++) {
      assertEquals(values[i + 5], back[i + 2], "at " + i);
    }
  }

  @Test
  void slicesShareTheMemory() {
    FloatArray array = context.floats(10);
    FloatArray slice = array.slice(3, 4);
    FloatArray inner = slice.slice(1, 2);
    inner.fill(7);
    slice.write(3, new float[] {0, 9}, 1, 1);
    assertArrayEquals(new float[] {0, 0, 0, 0, 7, 7, 9, 0, 0, 0}, all(array));
    assertEquals(array.address() + 4 * Float.BYTES, inner.address());
    assertEquals(2 * 49, context.sumOfSquares(inner));
  }

  @Test
  void emptyArraysAreLegal() {
    FloatArray empty = context.floats(0);
    empty.fill(1);
    empty.write(0, new float[0], 0, 0);
    empty.read(0, new float[0], 0, 0);
    assertEquals(0, context.sumOfSquares(empty));
    context.adamw(new AdamwStep(), empty, empty, empty, empty);
    assertEquals(0, context.floats(3).slice(3, 0).length());
  }

  @Test
  void rangesOutsideAreRefused() {
    FloatArray array = context.floats(10);
    float[] host = new float[4];
    for (Executable outside :
        List.<Executable>of(
            () -> array.slice(-1, 2),
            () -> array.slice(9, 2),
            () -> array.slice(1, Long.MAX_VALUE),
            () -> array.write(8, host, 0, 3),
            () -> array.read(0, host, 2, 3),
            () -> array.write(0, host, -1, 2),
            () -> context.floats(-1),
            () -> context.floats(Long.MAX_VALUE))) {
      assertThrows(IllegalArgumentException.class, outside);
    }
  }

  @Test
  void memoryThatCannotBeHadIsReported() {
    RoraException refusal =
        assertThrows(RoraException.class, () -> context.floats(Long.MAX_VALUE / 64));
    assertEquals(RoraException.Reason.OUT_OF_MEMORY, refusal.reason());
  }

  @Test
  void slicesEndWithTheirArrayAndAreNotClosedThemselves() {
    FloatArray array = context.floats(10);
    FloatArray slice = array.slice(0, 2);
    assertThrows(IllegalStateException.class, slice::close);
    array.close();
    array.close();
    assertThrows(IllegalStateException.class, () -> slice.fill(1));
    assertThrows(IllegalStateException.class, () -> context.sumOfSquares(slice));
  }

  private static float[] all(FloatArray array) {
    float[] values = new float[(int) array.length()];
    array.read(0, values, 0, values.length);
    return values;
  }
}
