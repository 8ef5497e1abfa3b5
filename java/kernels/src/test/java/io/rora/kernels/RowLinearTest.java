package io.rora.kernels;

import static io.rora.kernels.Matrices.assertWithin;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.kernels.LinearSample.Expected;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.function.Consumer;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;

class RowLinearTest {
  private static final long SEED = 20_501_043_15L;

  /** A matrix in a direct buffer: one element behind an aligned address, NaN around its rows. */
  private static final class Host {
    final DataType type;
    final int rows;
    final int columns;
    final ByteBuffer bytes;
    final HostMemory memory;

    Host(DataType type, int rows, int columns, float[] valuesOrNull) {
      this.type = type;
      this.rows = rows;
      this.columns = columns;
      this.bytes = Staging.direct((rows * stride() + 1) * type.bytes());
      this.memory = HostMemory.of(bytes);
      for (int i = 0; i < bytes.capacity(); i++) {
        bytes.put(i, (byte) 0xff);
      }
      for (int i = 0; valuesOrNull != null && i < rows * columns; i++) {
        put(i / columns, i % columns, valuesOrNull[i]);
      }
    }

    int stride() {
      return columns + 3;
    }

    long address() {
      return memory.address() + type.bytes();
    }

    private int offset(int row, int column) {
      return (row * stride() + column + 1) * type.bytes();
    }

    void put(int row, int column, float value) {
      int bits = Float.floatToRawIntBits(value);
      if (type == DataType.F32) {
        bytes.putInt(offset(row, column), bits);
      } else {
        assertEquals(0, bits & 0xffff, "the test wants values that bf16 holds");
        bytes.putShort(offset(row, column), (short) (bits >>> 16));
      }
    }

    float get(int row, int column) {
      return type == DataType.F32
          ? bytes.getFloat(offset(row, column))
          : Float.intBitsToFloat(bytes.getShort(offset(row, column)) << 16);
    }

    float[] values() {
      float[] values = new float[rows * columns];
      for (int i = 0; i < values.length; i++) {
        values[i] = get(i / columns, i % columns);
      }
      return values;
    }

    void check(String name, Expected expected) {
      assertWithin(name, values(), expected.values(), expected.bound());
      for (int row = 0; row < rows; row++) {
        for (int column = columns; column < stride(); column++) {
          assertTrue(Float.isNaN(get(row, column)), name + ": padding of row " + row + " changed");
        }
      }
    }
  }

  /** A layer over host memory. */
  private static final class Layer {
    final LinearSample s;
    final Host a;
    final Host b;
    final Host x;
    final Host h;
    final Host y;
    final Host dy;
    final Host dA;
    final Host dB;
    final Host dx;
    final RowLinear linear;

    Layer(RoraContext context, LinearSample s, DataType stored, DataType rows, DataType compute) {
      this.s = s;
      a = new Host(DataType.F32, s.rank(), s.in(), s.a());
      b = new Host(DataType.F32, s.out(), s.rank(), s.b());
      x = new Host(rows, s.tokens(), s.in(), s.x());
      h = new Host(DataType.F32, s.tokens(), s.rank(), null);
      y = new Host(rows, s.tokens(), s.out(), null);
      dy = new Host(rows, s.tokens(), s.out(), s.dy());
      dA = new Host(DataType.F32, s.rank(), s.in(), null);
      dB = new Host(DataType.F32, s.out(), s.rank(), null);
      dx = new Host(rows, s.tokens(), s.in(), null);
      Host w = new Host(DataType.F32, s.out(), s.in(), s.w());
      Weight weight = context.weight(stored, s.out(), s.in());
      weight.write(0, s.out(), DataType.F32, w.address(), w.stride());
      linear = context.rowLinear(weight, s.rank(), rows, compute);
      linear.adapter(s.scaling(), a.address(), a.stride(), b.address(), b.stride());
      linear.gradients(dA.address(), dA.stride(), dB.address(), dB.stride());
    }

    void forward() {
      linear.forward(
          s.tokens(), x.address(), x.stride(), h.address(), h.stride(), y.address(), y.stride());
    }

    void backward(boolean add) {
      linear.backward(
          s.tokens(),
          x.address(),
          x.stride(),
          h.address(),
          h.stride(),
          dy.address(),
          dy.stride(),
          add,
          dx.address(),
          dx.stride(),
          add);
    }

    void check(UnaryOperator<Expected> tolerance) {
      h.check("h", tolerance.apply(s.h()));
      y.check("y", tolerance.apply(s.y()));
      dA.check("dA", tolerance.apply(s.dA()));
      dB.check("dB", tolerance.apply(s.dB()));
      dx.check("dx", tolerance.apply(s.dx()));
    }
  }

  @ParameterizedTest
  @CsvSource({"1, 1, 1, 1", "3, 15, 5, 2", "33, 31, 17, 8", "7, 129, 40, 64", "65, 48, 33, 3"})
  void forwardAndBackwardMatchDoubleReference(int tokens, int in, int out, int rank) {
    try (RoraContext context = RoraContext.open("cpu", 2)) {
      LinearSample sample = LinearSample.random(tokens, in, out, rank, SEED);
      Layer layer = new Layer(context, sample, DataType.F32, DataType.F32, DataType.F32);
      layer.forward();
      layer.backward(false);
      layer.check(UnaryOperator.identity());
    }
  }

  // Sums stay below 256, so that bf16 holds them too.
  @ParameterizedTest
  @CsvSource({"F32, F32, F32", "BF16, F32, F32", "BF16, F32, BF16", "BF16, BF16, BF16"})
  void smallIntegersAreExactInAllTypes(DataType stored, DataType rows, DataType compute) {
    try (RoraContext context = RoraContext.open("cpu", 2)) {
      LinearSample sample = LinearSample.integers(67, 3, 4, 1, SEED);
      Layer layer = new Layer(context, sample, stored, rows, compute);
      layer.forward();
      layer.backward(false);
      layer.check(LinearSample::exact);
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DataType.class,
      names = {"F32", "BF16"})
  void gradientsAreAddedIfAsked(DataType rows) {
    try (RoraContext context = RoraContext.open("cpu", 2)) {
      LinearSample sample = LinearSample.integers(67, 2, 3, 1, SEED);
      Layer layer = new Layer(context, sample, DataType.F32, rows, DataType.F32);
      layer.forward();
      layer.backward(false);
      float[] once = layer.dx.values();
      float[] onceA = layer.dA.values();
      layer.backward(true);
      assertArrayEquals(Matrices.integersTimes(once, 2), layer.dx.values());
      assertArrayEquals(Matrices.integersTimes(onceA, 2), layer.dA.values());
    }
  }

  @Test
  void bf16ComputesOtherwiseThanFloat() {
    try (RoraContext context = RoraContext.open("cpu", 2)) {
      LinearSample sample = LinearSample.random(8, 40, 16, 4, SEED);
      Layer exact = new Layer(context, sample, DataType.BF16, DataType.F32, DataType.F32);
      Layer rounded = new Layer(context, sample, DataType.BF16, DataType.F32, DataType.BF16);
      exact.forward();
      rounded.forward();
      float[] values = rounded.y.values();
      for (int i = 0; i < values.length; i++) {
        assertEquals(0, Float.floatToRawIntBits(values[i]) & 0xffff, "y[" + i + "] is no bf16");
        // x, h and y are rounded, each by 2^-8 of itself at most; a sum has 44 terms below 1.5.
        assertEquals(exact.y.values()[i], values[i], 44 * 1.5 * 3 / 256, "y[" + i + "]");
      }
      assertTrue(!Arrays.equals(exact.y.values(), values), "the bf16 kernels were not used");
    }
  }

  @Test
  void layersShareOneWorkspaceThatTheContextFrees() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      LinearSample sample = LinearSample.integers(67, 8, 6, 2, SEED);
      Layer first = new Layer(context, sample, DataType.F32, DataType.F32, DataType.F32);
      Layer second = new Layer(context, sample, DataType.F32, DataType.F32, DataType.F32);
      first.forward();
      first.backward(false);
      long bytes = context.bytes();
      second.forward();
      second.backward(false);
      assertEquals(bytes, context.bytes());
    }
  }

  @Test
  void misuseIsRefusedBeforeTheFirstWrite() {
    try (RoraContext context = RoraContext.open("cpu", 1);
        RoraContext other = RoraContext.open("cpu", 1)) {
      LinearSample sample = LinearSample.integers(5, 6, 4, 2, SEED);
      Layer layer = new Layer(context, sample, DataType.F32, DataType.F32, DataType.F32);
      long x = layer.x.address();
      long h = layer.h.address();
      long y = layer.y.address();
      refused("x is NULL", () -> layer.linear.forward(5, 0, 9, h, 5, y, 7));
      refused("aligned to its elements", () -> layer.linear.forward(5, x + 2, 9, h, 5, y, 7));
      refused("tokens=-1", () -> layer.linear.forward(-1, x, 9, h, 5, y, 7));
      refused(
          "ldx=5: must be at least in_features (6)",
          () -> layer.linear.forward(5, x, 5, h, 5, y, 7));
      refused("y overlaps x", () -> layer.linear.forward(5, x, 9, h, 5, x, 9));
      layer.linear.gradients(layer.dA.address(), 9, 0, 0);
      refused("dA and dB", () -> layer.backward(false));
      layer.linear.adapter(1, 0, 6, layer.b.address(), 5);
      refused("lora_A is NULL", layer::forward);
      for (float value : layer.y.values()) {
        assertTrue(Float.isNaN(value), "y was written");
      }
      Weight weight = layer.linear.weight();
      assertThrows(
          IllegalArgumentException.class,
          () -> context.rowLinear(weight, -1, DataType.F32, DataType.F32));
      assertThrows(
          IllegalArgumentException.class,
          () -> context.rowLinear(weight, 1, DataType.F16, DataType.F32));
      assertThrows(
          IllegalArgumentException.class,
          () -> other.rowLinear(weight, 1, DataType.F32, DataType.F32));
      assertThrows(
          IllegalArgumentException.class, () -> weight.write(0, 4, DataType.F32, x + 1, 9));
      refused("NULL", () -> weight.write(0, 4, DataType.F32, 0, 9));
      weight.close();
      assertThrows(IllegalStateException.class, layer::forward);
    }
  }

  private static void refused(String text, Runnable call) {
    RoraException refusal = assertThrows(RoraException.class, call::run, text);
    assertEquals(RoraException.Reason.INVALID_ARGUMENT, refusal.reason());
    assertTrue(refusal.getMessage().contains(text), refusal.getMessage());
  }

  @Test
  void closedContextRefusesWork() {
    RoraContext context = RoraContext.open("cpu", 1);
    Layer layer =
        new Layer(
            context,
            LinearSample.integers(5, 6, 4, 2, SEED),
            DataType.F32,
            DataType.F32,
            DataType.F32);
    layer.forward();
    context.close();
    assertThrows(IllegalStateException.class, layer::forward);
    assertThrows(IllegalStateException.class, () -> layer.backward(false));
  }

  @Test
  void addressesOfBuffersBeginAtTheirPosition() {
    ByteBuffer bytes = Staging.direct(64);
    long start = HostMemory.of(bytes).address();
    bytes.position(8).limit(40);
    HostMemory part = HostMemory.of(bytes);
    assertEquals(start + 8, part.address());
    assertEquals(32, part.bytes());
    assertEquals(start + 16, part.floats(2, 6));
    var floats = bytes.clear().order(ByteOrder.nativeOrder()).asFloatBuffer();
    floats.position(3);
    assertEquals(start + 12, HostMemory.of(floats).address());
    assertEquals(52, HostMemory.of(floats).bytes());
    Consumer<Runnable> refused = run -> assertThrows(IllegalArgumentException.class, run::run);
    refused.accept(() -> part.floats(2, 7));
    refused.accept(() -> part.floats(-1, 1));
    refused.accept(() -> HostMemory.of(ByteBuffer.allocate(8).order(bytes.order())));
    refused.accept(() -> HostMemory.of(ByteBuffer.allocateDirect(8).order(ByteOrder.BIG_ENDIAN)));
  }
}
