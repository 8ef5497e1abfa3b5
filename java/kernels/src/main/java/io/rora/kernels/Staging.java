package io.rora.kernels;

import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.DoubleBuffer;
import java.nio.FloatBuffer;
import org.bytedeco.javacpp.DoublePointer;
import org.bytedeco.javacpp.Pointer;

/**
 * Host memory through which Java arrays reach native calls, made once and kept: JavaCPP would copy
 * an array on every call, and a Pointer is too dear to be made in one. These are direct buffers,
 * because the memory of a context is its device's.
 */
final class Staging {
  private static final int FLOATS = 1 << 16; // 256 KiB stay in a core's second-level cache

  private final DoubleBuffer scalar;
  private final DoublePointer scalarPointer;
  private FloatBuffer floats;
  private Pointer pointer;

  Staging() {
    scalar = direct(Double.BYTES).asDoubleBuffer();
    scalarPointer = new DoublePointer(scalar);
    grow(FLOATS);
  }

  /** Direct memory in native order, zeroed. */
  static ByteBuffer direct(int bytes) {
    return ByteBuffer.allocateDirect(bytes).order(ByteOrder.nativeOrder());
  }

  /** Makes room for at least {@code count} floats; earlier contents may be lost. */
  FloatBuffer floats(long count) {
    if (count > floats.capacity()) {
      grow(count);
    }
    return floats;
  }

  /** The memory of {@link #floats}, for calls that take pointers. */
  Pointer pointer() {
    return pointer;
  }

  /** Where native calls leave one double. */
  DoubleBuffer scalarBuffer() {
    return scalar;
  }

  /** The same memory, for calls that take pointers. */
  DoublePointer scalarPointer() {
    return scalarPointer;
  }

  /** The double left there. */
  double scalar() {
    return scalar.get(0);
  }

  private void grow(long count) {
    if (count > Integer.MAX_VALUE / Float.BYTES) {
      throw new IllegalArgumentException(
          count + " floats in one row: copy at most " + Integer.MAX_VALUE / Float.BYTES);
    }
    floats = direct((int) count * Float.BYTES).asFloatBuffer();
    pointer = new Pointer(floats);
  }
}
