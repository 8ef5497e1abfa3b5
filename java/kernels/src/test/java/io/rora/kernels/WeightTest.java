package io.rora.kernels;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class WeightTest {
  private RoraContext context;

  @BeforeEach
  void open() {
    context = RoraContext.open("cpu", 2);
  }

  @AfterEach
  void close() {
    context.close();
  }

  @Test
  void rowsAreWrittenAndReadInParts() {
    int out = 301;
    int in = 1003; // more than one part of the staging buffer
    float[] values = Matrices.random(new Random(2), (long) out * in);
    Weight weight = context.weight(DataType.F32, out, in);
    ByteBuffer source = LinearSample.direct(values);
    weight.write(0, 100, DataType.F32, source.position(0));
    weight.write(100, out - 100, DataType.F32, source.position(100 * in * Float.BYTES));
    assertEquals(100 * in * Float.BYTES, source.position());
    float[] back = new float[out * in];
    weight.read(0, out, back);
    assertArrayEquals(values, back);
    float[] row = new float[in];
    weight.read(300, 1, row);
    assertEquals(values[300 * in + 7], row[7]);
  }

  @Test
  void everyBf16SurvivesARoundTrip() {
    Weight weight = context.weight(DataType.BF16, 256, 256);
    ByteBuffer source = Staging.direct(65_536 * Short.BYTES);
    for (int bits = 0; bits < 65_536; bits++) {
      source.putShort(bits * Short.BYTES, (short) bits);
    }
    weight.write(0, 256, DataType.BF16, source);
    float[] back = new float[65_536];
    weight.read(0, 256, back);
    for (int bits = 0; bits < 65_536; bits++) {
      float expected = Float.intBitsToFloat(bits << 16);
      if (Float.isNaN(expected)) {
        assertTrue(Float.isNaN(back[bits]), "NaN " + bits + " became " + back[bits]);
      } else {
        assertEquals(bits << 16, Float.floatToRawIntBits(back[bits]), "bits " + bits);
      }
    }
  }

  @Test
  void halfPrecisionSourcesAreWidened() {
    Weight weight = context.weight(DataType.F32, 1, 3);
    ByteBuffer source = Staging.direct(6);
    source.putShort(0, (short) 0x3C00); // 1
    source.putShort(2, (short) 0xC000); // -2
    source.putShort(4, (short) 0x3555); // 0.333251953125
    weight.write(0, 1, DataType.F16, source);
    float[] back = new float[3];
    weight.read(0, 1, back);
    assertArrayEquals(new float[] {1, -2, 0.33325195f}, back);
  }

  @Test
  void rowNormsAreEuclidean() {
    Weight weight = context.weight(DataType.F32, 2, 2);
    weight.write(0, 2, DataType.F32, LinearSample.direct(new float[] {3, 4, 5, 12}));
    float[] norms = new float[3];
    weight.rowNorms(norms);
    assertArrayEquals(new float[] {5, 13, 0}, norms);
  }

  @Test
  void masterAndStorageAreCopiedBothWays() {
    Weight weight = context.weight(DataType.BF16, 1, 2);
    weight.write(0, 1, DataType.F32, LinearSample.direct(new float[] {1.5f, -2}));
    FloatArray master = context.floats(2);
    FloatArray gradient = context.floats(2);
    weight.train(master, gradient);
    weight.toMaster();
    float[] values = new float[2];
    master.read(0, values, 0, 2);
    assertArrayEquals(new float[] {1.5f, -2}, values);
    master.fill(0.25f);
    weight.refresh();
    weight.read(0, 1, values);
    assertArrayEquals(new float[] {0.25f, 0.25f}, values);
    master.close();
    assertThrows(IllegalStateException.class, weight::refresh);
  }

  @Test
  void brokenArgumentsAreRefused() {
    Weight weight = context.weight(DataType.F32, 4, 3);
    ByteBuffer rows = Staging.direct(4 * 3 * Float.BYTES);
    assertThrows(IllegalArgumentException.class, () -> weight.write(2, 3, DataType.F32, rows));
    assertThrows(
        IllegalArgumentException.class, () -> weight.write(0, 4, DataType.F32, rows.limit(8)));
    assertThrows(
        IllegalArgumentException.class,
        () -> weight.write(0, 1, DataType.F32, ByteBuffer.allocate(64)));
    assertThrows(IllegalArgumentException.class, () -> weight.read(0, 4, new float[11]));
    assertThrows(IllegalArgumentException.class, () -> weight.rowNorms(new float[3]));
    assertThrows(IllegalArgumentException.class, () -> weight.train(context.floats(11), null));
    assertThrows(RoraException.class, () -> context.weight(DataType.F16, 4, 3));
    assertThrows(RoraException.class, () -> context.weight(DataType.F32, -4, 3));
  }
}
