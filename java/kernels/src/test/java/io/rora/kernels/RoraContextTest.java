package io.rora.kernels;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.function.Supplier;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;

class RoraContextTest {
  @Test
  void streamsOnTheCpuAreRefusedButForItsOwn() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      context.useStream(0);
      RoraException refusal =
          assertThrows(RoraException.class, () -> context.useStream(RoraContext.DEFAULT_STREAM));
      assertEquals(RoraException.Reason.UNSUPPORTED, refusal.reason());
      assertTrue(refusal.getMessage().contains("the CPU has no streams"), refusal.getMessage());
    }
  }

  @Test
  void reportsWhatItRunsOn() {
    try (RoraContext context = RoraContext.open("cpu", 3)) {
      assertEquals(3, context.threads());
      assertTrue(
          List.of("reference", "portable", "avx2", "avx512", "avx512bf16", "amx")
              .contains(context.isa()),
          context.isa());
      assertTrue(RoraContext.version().matches("\\d+\\.\\d+\\.\\d+"), RoraContext.version());
    }
  }

  @Test
  void unknownDeviceIsRefusedByName() {
    RoraException refusal = assertThrows(RoraException.class, () -> RoraContext.open("abacus", 1));
    assertTrue(refusal.getMessage().contains("abacus"), refusal.getMessage());
    assertThrows(IllegalArgumentException.class, () -> RoraContext.open(null, 1));
  }

  @Test
  void negativeThreadsAreRefused() {
    RoraException refusal = assertThrows(RoraException.class, () -> RoraContext.open("cpu", -1));
    assertEquals(RoraException.Reason.INVALID_ARGUMENT, refusal.reason());
    assertTrue(refusal.getMessage().contains("-1"), refusal.getMessage());
  }

  @Test
  void closedContextRefusesWork() {
    RoraContext context = RoraContext.open("cpu", 1);
    FloatArray floats = context.floats(8);
    FloatArray slice = floats.slice(2, 2);
    Weight weight = context.weight(DataType.F32, 2, 3);
    Activation activation = context.activation(DataType.F32, 4, 2, 0);
    Batch batch = context.batch(4);
    LowRank adapter =
        context.lowRank(2, 3, 1, 1.0, context.floats(3), context.floats(2), null, null, null, null);
    LinearGroup group = context.linear(1);
    Rope rope = context.rope(4, 2, new float[] {1});
    Attention attention = context.attention(1, 1, 2, 2, 4);
    AdamwStep step = new AdamwStep();
    context.close();
    for (Executable work :
        List.<Executable>of(
            context::isa,
            context::threads,
            context::bytes,
            () -> context.floats(1),
            () -> context.matrix(1, 1),
            () -> context.weight(DataType.F32, 1, 1),
            () -> context.activation(DataType.F32, 1, 1, 0),
            () -> context.batch(1),
            () -> context.linear(1),
            () -> context.rope(1, 2, new float[1]),
            () -> context.attention(1, 1, 2, 2, 4),
            () -> context.adamw(step, floats, floats, floats, floats),
            () -> context.sumOfSquares(floats),
            () -> floats.read(0, new float[1], 0, 1),
            () -> slice.write(0, new float[1], 0, 1),
            slice::address,
            () -> floats.slice(0, 1),
            () -> weight.read(0, 1, new float[3]),
            weight::refresh,
            activation::tokens,
            activation::clear,
            () -> activation.write(0, 2, new float[0]),
            batch::ids,
            () -> batch.fill(0),
            () -> adapter.refresh(weight),
            () -> adapter.trainRank(1),
            group::tail,
            () -> group.forward(null, activation, null, activation),
            () -> rope.apply(batch, 0, 1, false, activation),
            () -> attention.forward(batch, activation, null, activation))) {
      IllegalStateException refusal = assertThrows(IllegalStateException.class, work);
      assertTrue(refusal.getMessage().contains("is closed"), refusal.getMessage());
    }
  }

  @Test
  void closingTwiceIsHarmless() {
    RoraContext context = RoraContext.open("cpu", 1);
    Weight weight = context.weight(DataType.BF16, 5, 7);
    Activation activation = context.activation(DataType.F32, 4, 2, 0);
    weight.close();
    weight.close();
    context.close();
    context.close();
    activation.close();
    weight.close();
  }

  @Test
  void closingAnObjectGivesItsMemoryBack() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      assertEquals(0, context.bytes());
      List<Supplier<AutoCloseable>> makers =
          List.of(
              () -> context.floats(1000),
              () -> context.weight(DataType.BF16, 30, 40),
              () -> context.activation(DataType.F32, 100, 40, 8),
              () -> context.batch(100));
      for (Supplier<AutoCloseable> maker : makers) {
        try (AutoCloseable made = maker.get()) {
          assertTrue(context.bytes() > 0, made.getClass() + " takes no memory");
        } catch (Exception e) {
          throw new AssertionError(e);
        }
        assertEquals(0, context.bytes());
      }
    }
  }

  @Test
  void theHostsMemoryIsTheSystemsToTell() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      assertTrue(context.deviceMemory().isEmpty());
      assertTrue(context.freeDeviceMemory().isEmpty());
    }
  }

  @Test
  void activationBytesAreWhatTheContextCounts() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      for (DataType type : List.of(DataType.F32, DataType.BF16)) {
        Activation activation = context.activation(type, 100, 41, 7);
        assertEquals(Activation.bytes(type, 100, 41, 7), context.bytes(), type.name());
        activation.close();
      }
    }
  }

  @Test
  void objectsOfAnotherContextAreRefused() {
    try (RoraContext here = RoraContext.open("cpu", 1);
        RoraContext there = RoraContext.open("cpu", 1)) {
      Activation ours = here.activation(DataType.F32, 4, 2, 0);
      Activation theirs = there.activation(DataType.F32, 4, 2, 0);
      FloatArray values = there.floats(2);
      for (Executable mixture :
          List.<Executable>of(
              () -> ours.copyFrom(theirs),
              () -> here.sumOfSquares(values),
              () -> Layers.rmsNormForward(ours, values, 1e-5f, ours))) {
        IllegalArgumentException refusal = assertThrows(IllegalArgumentException.class, mixture);
        assertTrue(refusal.getMessage().contains("another context"), refusal.getMessage());
      }
    }
  }

  @Test
  void severalContextsWorkSideBySide() {
    try (RoraContext first = RoraContext.open("cpu", 2);
        RoraContext second = RoraContext.open("cpu", 1)) {
      FloatArray three = first.floats(1);
      three.fill(3);
      FloatArray four = second.floats(1);
      four.fill(4);
      assertEquals(9, first.sumOfSquares(three));
      assertEquals(16, second.sumOfSquares(four));
    }
  }

  @Test
  void missingLibraryIsReportedWithTheReason() {
    RoraException refusal =
        assertThrows(RoraException.class, () -> NativeLibrary.load(BindingsWithoutLibrary.class));
    assertEquals(RoraException.Reason.NOT_LOADED, refusal.reason());
    assertTrue(
        refusal.getMessage().startsWith("rora's native library cannot be loaded on "),
        refusal.getMessage());
    assertTrue(refusal.getMessage().contains("cachedir"), refusal.getMessage());
    assertEquals(-1, refusal.getMessage().indexOf('\n'));
    assertEquals(-1, refusal.getMessage().indexOf(".."), refusal.getMessage());
  }

  /** Bindings as JavaCPP makes them, of a library that nobody has built. */
  @org.bytedeco.javacpp.annotation.Platform(library = "jniNobodyBuiltThis")
  static final class BindingsWithoutLibrary {
    private BindingsWithoutLibrary() {}
  }

  @Test
  void measurementsAreOfTheRightOrder() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      for (DataType type : List.of(DataType.F32, DataType.BF16)) {
        double peak = context.measurePeak(type);
        assertTrue(peak > 1e7 && peak < 1e14, type + " " + peak);
      }
      double bandwidth = context.measureBandwidth(8 << 20);
      assertTrue(bandwidth > 1e7 && bandwidth < 1e14, "" + bandwidth);
      assertEquals(0, context.bytes());
    }
  }

  @Test
  void measurementsSayWhatIsWrong() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      RoraException type =
          assertThrows(RoraException.class, () -> context.measurePeak(DataType.F16));
      assertTrue(type.getMessage().contains("must be RORA_F32 or RORA_BF16"), type.getMessage());
      RoraException bytes = assertThrows(RoraException.class, () -> context.measureBandwidth(100));
      assertTrue(bytes.getMessage().contains("bytes=100"), bytes.getMessage());
    }
  }
}
