package io.rora.kernels;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.lang.reflect.Field;
import java.lang.reflect.Method;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.bytedeco.javacpp.FloatPointer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * The layers in docs/using-the-kernels.md on device memory of other libraries. Memory comes from
 * rora's contexts, dressed as theirs: neither library needs a GPU for that.
 */
class DocumentedGpuTrainersTest {
  private static final String FOLDER = "rora.simt.folder";
  private static final long SEED = 20_501_043_15L;
  private static final double GAMMA = 4; // 8 / sqrt(4)

  @TempDir Path temporary;

  /** A jcuda.Pointer to an address, as cudaMalloc makes them. */
  private static final class JcudaMemory extends jcuda.Pointer {
    JcudaMemory(long address) {
      super(address);
    }
  }

  /** A jcuda handle of a stream. */
  private static final class JcudaStream extends jcuda.NativePointerObject {
    JcudaStream(long handle) {
      super(handle);
    }
  }

  private enum Program {
    JCUDA("JcudaLayer", jcuda.Pointer.class, jcuda.Pointer.class) {
      @Override
      Object memory(long address) {
        return new JcudaMemory(address - 64).withByteOffset(48).withByteOffset(16);
      }
    },
    BYTEDECO("BytedecoLayer", FloatPointer.class, org.bytedeco.cuda.cudart.CUstream_st.class) {
      @Override
      Object memory(long address) {
        return new Address().at(address);
      }
    };

    final String name;
    final Class<?> memoryType;
    final Class<?> library;

    Program(String name, Class<?> memoryType, Class<?> library) {
      this.name = name;
      this.memoryType = memoryType;
      this.library = library;
    }

    abstract Object memory(long address);

    Class<?> load(Path folder) throws Exception {
      Path classes =
          DocumentedPrograms.compile(name, DocumentedPrograms.classPath(library), folder);
      URL[] places = {classes.toUri().toURL()};
      return new URLClassLoader(places, Program.class.getClassLoader()).loadClass(name);
    }
  }

  private static void openEmulation() {
    Path folder = Path.of(System.getProperty(FOLDER, "."));
    assumeTrue(
        Files.exists(folder.resolve("librora_simt.so")),
        () -> "skipped: there is no librora_simt.so in " + folder + " (-D" + FOLDER + "=DIR)");
    RoraContext.backendFolder(folder);
  }

  private static int constant(Class<?> layer, String name) throws Exception {
    Field field = layer.getDeclaredField(name);
    field.setAccessible(true);
    return field.getInt(null);
  }

  /** The arena after a step on it. */
  private static float[] step(Program program, Class<?> layer, String device, float[] arena)
      throws Exception {
    try (RoraContext context = RoraContext.open(device, 2)) {
      FloatArray memory = context.floats(arena.length);
      memory.write(0, arena, 0, arena.length);
      Object step =
          layer
              .getConstructor(RoraContext.class, program.memoryType)
              .newInstance(context, program.memory(memory.address()));
      Method method = layer.getMethod("step");
      method.invoke(step);
      float[] result = new float[arena.length];
      memory.read(0, result, 0, result.length);
      return result;
    }
  }

  /** Inputs, the same for all programs; NaN where results belong. */
  private static float[] arena(Class<?> layer, boolean integers) throws Exception {
    Random random = new Random(SEED);
    float[] arena = new float[constant(layer, "FLOATS")];
    for (int i = 0; i < arena.length; i++) {
      boolean input = i < constant(layer, "H");
      float value = integers ? random.nextInt(7) - 3 : (float) random.nextGaussian();
      arena[i] = input ? value : Float.NaN;
    }
    return arena;
  }

  @ParameterizedTest
  @EnumSource(Program.class)
  void theLayerComputesBothPassesOnTheCpu(Program program) throws Exception {
    Class<?> layer = program.load(temporary);
    float[] arena = step(program, layer, "cpu", arena(layer, /* integers= */ true));
    int in = constant(layer, "IN");
    int out = constant(layer, "OUT");
    int rank = constant(layer, "RANK");
    for (int t = 0; t < constant(layer, "TOKENS"); t++) {
      for (int o = 0; o < out; o++) {
        double expected = 0;
        for (int i = 0; i < in; i++) {
          double w = arena[constant(layer, "W") + o * in + i];
          for (int r = 0; r < rank; r++) {
            double b = arena[constant(layer, "B") + o * rank + r];
            w += GAMMA * b * arena[constant(layer, "A") + r * in + i];
          }
          expected += w * arena[constant(layer, "X") + t * in + i];
        }
        assertEquals(
            expected, arena[constant(layer, "Y") + t * out + o], "y[" + t + "][" + o + "]");
      }
    }
    for (float value : arena) {
      assertTrue(Float.isFinite(value), "all results are written");
    }
  }

  @ParameterizedTest
  @EnumSource(Program.class)
  void wholeNumbersComeOutTheSameOnTheEmulatedGpu(Program program) throws Exception {
    openEmulation();
    Class<?> layer = program.load(temporary);
    float[] arena = arena(layer, /* integers= */ true);
    assertArrayEquals(step(program, layer, "cpu", arena), step(program, layer, "simt", arena), 0f);
  }

  @ParameterizedTest
  @EnumSource(Program.class)
  void theEmulatedGpuAgreesWithTheCpuWithinRounding(Program program) throws Exception {
    openEmulation();
    Class<?> layer = program.load(temporary);
    float[] arena = arena(layer, /* integers= */ false);
    float[] sizes = arena.clone(); // gives the sums of |a b| that roundings are parts of
    for (int i = 0; i < sizes.length; i++) {
      sizes[i] = Math.abs(sizes[i]);
    }
    float[] cpu = step(program, layer, "cpu", arena);
    float[] gpu = step(program, layer, "simt", arena);
    sizes = step(program, layer, "cpu", sizes);
    // The longest sums: a low-rank product and, over its columns, another; or all tokens.
    int terms = constant(layer, "TOKENS") + constant(layer, "IN") + constant(layer, "RANK") + 2;
    for (int i = 0; i < cpu.length; i++) {
      assertEquals(cpu[i], gpu[i], 2 * terms * 0x1p-24 * sizes[i], "float " + i + " of the arena");
    }
  }

  @Test
  void hostMemoryIsRefusedOnTheEmulatedGpu() {
    openEmulation();
    try (RoraContext context = RoraContext.open("simt", 1)) {
      Weight weight = context.weight(DataType.F32, 4, 6);
      RowLinear linear = context.rowLinear(weight, 0, DataType.F32, DataType.F32);
      long y = context.floats(5 * 4).address();
      HostMemory x = HostMemory.of(Staging.direct(5 * 6 * Float.BYTES));
      RoraException refusal =
          assertThrows(RoraException.class, () -> linear.forward(5, x.address(), 6, 0, 0, y, 4));
      assertEquals(RoraException.Reason.INVALID_ARGUMENT, refusal.reason());
      assertTrue(refusal.getMessage().contains("no address on the context's GPU"));
      context.useStream(0);
      linear.forward(5, context.floats(5 * 6).address(), 6, 0, 0, y, 4);
    }
  }

  @Test
  void jcudasPointersGiveTheirAddressAndOffset() {
    jcuda.Pointer pointer = new JcudaMemory(0x7f00_0000_1000L);
    assertEquals(0x7f00_0000_1000L, JcudaPointers.address(pointer));
    jcuda.Pointer part = pointer.withByteOffset(0x30).withByteOffset(4);
    assertEquals(0x7f00_0000_1034L, JcudaPointers.address(part));
    for (jcuda.Pointer other :
        new jcuda.Pointer[] {
          new jcuda.Pointer(), jcuda.Pointer.to(new float[3]), pointer(Staging.direct(16))
        }) {
      assertThrows(IllegalArgumentException.class, () -> JcudaPointers.address(other));
    }
    assertEquals(0x1234, JcudaPointers.stream(new JcudaStream(0x1234)));
    assertEquals(RoraContext.DEFAULT_STREAM, JcudaPointers.stream(new JcudaStream(0)));
  }

  private static jcuda.Pointer pointer(java.nio.ByteBuffer buffer) {
    return jcuda.Pointer.to(buffer);
  }

  @Test
  void javacppsPointersGiveTheirAddressAndPosition() {
    RoraContext.version(); // loads JavaCPP's library, which knows the sizes of types
    FloatPointer pointer = new Address().at(0x7f00_0000_1000L);
    assertEquals(0x7f00_0000_1000L, JavacppPointers.address(pointer));
    assertEquals(0x7f00_0000_1030L, JavacppPointers.address(pointer.position(12)));
    assertThrows(IllegalArgumentException.class, () -> JavacppPointers.address(new FloatPointer()));
    assertEquals(0x7f00_0000_1000L, JavacppPointers.stream(new Address().at(0x7f00_0000_1000L)));
    assertEquals(RoraContext.DEFAULT_STREAM, JavacppPointers.stream(null));
  }
}
