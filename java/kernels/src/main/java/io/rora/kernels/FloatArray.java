package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import java.nio.FloatBuffer;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Pointer;

/**
 * Floats in the memory of a context's device: parameters, gradients, optimiser state. Slices share
 * the memory of the array they are cut from. Not thread-safe, like the context.
 */
public final class FloatArray implements AutoCloseable {
  private final Memory memory;
  private final FloatPointer pointer;
  private final Pointer cursor;
  private final long length;
  private final boolean slice;

  /** What {@link RoraContext#floats} allocates. */
  static final class Memory extends NativeObject {
    private final FloatPointer pointer = new FloatPointer((Pointer) null);
    private final long length;

    Memory(RoraContext context, long length) {
      super(context);
      if (length < 0 || length > Long.MAX_VALUE / Float.BYTES) {
        throw new IllegalArgumentException("length=" + length + ": must be at least 0");
      }
      this.length = length;
      check(Rora.rora_alloc(context.handle(), length * Float.BYTES, pointer));
    }

    @Override
    String kind() {
      return "FloatArray";
    }

    @Override
    void release() {
      Rora.rora_free(context().handle(), pointer);
    }
  }

  /** All of {@code memory}. */
  FloatArray(Memory memory) {
    this(memory, memory.pointer, memory.length, false);
  }

  private FloatArray(Memory memory, FloatPointer pointer, long length, boolean slice) {
    this.memory = memory;
    this.pointer = pointer;
    this.cursor = new Pointer(pointer);
    this.length = length;
    this.slice = slice;
  }

  /** Returns the number of floats. */
  public long length() {
    return length;
  }

  /**
   * Returns a view of {@code count} floats from {@code offset} on. Made at set-up: it allocates.
   */
  public FloatArray slice(long offset, long count) {
    memory.checkOpen();
    checkRange(offset, count);
    return new FloatArray(
        memory, pointer.getPointer(FloatPointer.class, offset), count, /* slice= */ true);
  }

  /** Copies {@code count} floats of {@code source} from {@code from} on to {@code offset} here. */
  public void write(long offset, float[] source, int from, int count) {
    checkRange(offset, count);
    checkArray(source, from, count);
    FloatBuffer host = open().floats(1);
    for (int done = 0; done < count; ) {
      int part = Math.min(host.capacity(), count - done);
      host.put(0, source, from + done, part);
      upload(offset + done, part);
      done += part;
    }
  }

  /** Copies {@code count} floats from {@code offset} on to {@code target} from {@code from} on. */
  public void read(long offset, float[] target, int from, int count) {
    checkRange(offset, count);
    checkArray(target, from, count);
    Staging staging = open();
    FloatBuffer host = staging.floats(1);
    for (int done = 0; done < count; ) {
      int part = Math.min(host.capacity(), count - done);
      cursor.position((offset + done) * Float.BYTES);
      check(
          Rora.rora_download(
              memory.context().handle(), staging.pointer(), cursor, (long) part * Float.BYTES));
      host.get(0, target, from + done, part);
      done += part;
    }
  }

  /** Sets all floats to {@code value}. */
  public void fill(float value) {
    FloatBuffer host = open().floats(1);
    int used = (int) Math.min(host.capacity(), length);
    for (int i = 0; i < used; i++) {
      host.put(i, value);
    }
    for (long done = 0; done < length; done += used) {
      upload(done, (int) Math.min(used, length - done));
    }
  }

  /** Returns the address of the first float on the device; 0 is possible where the length is 0. */
  public long address() {
    memory.checkOpen();
    return pointer.address();
  }

  /**
   * Frees the memory before its context is closed; slices of it cannot be used either then. A
   * second call does nothing.
   *
   * @throws IllegalStateException if this is a slice, which is freed with the array it was cut from
   */
  @Override
  public void close() {
    if (slice) {
      throw new IllegalStateException("this is a slice: close the array that it was cut from");
    }
    memory.close();
  }

  /** The memory for a native call, if it is open, on {@code context} and {@code expected} long. */
  FloatPointer pointer(RoraContext context, long expected, String name) {
    memory.checkUsableOn(context);
    if (length != expected) {
      throw new IllegalArgumentException(
          name + " has " + length + " floats: must have " + expected);
    }
    return pointer;
  }

  /** As {@link #pointer(RoraContext, long, String)}; null for null. */
  static FloatPointer pointerOrNull(
      FloatArray array, RoraContext context, long expected, String name) {
    return array == null ? null : array.pointer(context, expected, name);
  }

  /** Throws if the memory is closed; null passes. */
  static void checkOpenOrNull(FloatArray array) {
    if (array != null) {
      array.memory.checkOpen();
    }
  }

  private Staging open() {
    memory.checkOpen();
    return memory.context().staging();
  }

  private void upload(long offset, int count) {
    RoraContext context = memory.context();
    cursor.position(offset * Float.BYTES);
    check(
        Rora.rora_upload(
            context.handle(), cursor, context.staging().pointer(), (long) count * Float.BYTES));
  }

  private void checkRange(long offset, long count) {
    if (offset < 0 || count < 0 || offset > length - count) {
      throw new IllegalArgumentException(
          "offset=" + offset + ", count=" + count + ": must lie within the " + length + " floats");
    }
  }

  private static void checkArray(float[] array, int from, int count) {
    if (from < 0 || count < 0 || from > array.length - count) {
      throw new IllegalArgumentException(
          "from=" + from + ", count=" + count + ": must lie within the array of " + array.length);
    }
  }
}
