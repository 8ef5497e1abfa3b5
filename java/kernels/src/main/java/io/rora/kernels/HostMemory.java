package io.rora.kernels;

import java.nio.Buffer;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import org.bytedeco.javacpp.Pointer;

/**
 * The address of a direct buffer's memory, found once, at set-up: {@link RowLinear} and {@link
 * Weight#write(long, long, DataType, long, long)} take addresses, and looking one up makes objects.
 *
 * <p>The memory stays the buffer's, which frees it when the garbage collector finds the buffer
 * unreachable. This object keeps the buffer reachable: hold it (in a field, say) for as long as the
 * address is used. Whoever takes addresses from elsewhere holds that owner likewise.
 */
public final class HostMemory {
  private final Buffer owner;
  private final long address;
  private final long bytes;

  private HostMemory(Buffer owner, Buffer slice, ByteOrder order, long elementBytes) {
    if (!owner.isDirect()) {
      throw new IllegalArgumentException(
          "the buffer lies in the Java heap, whose addresses change: make it with"
              + " ByteBuffer.allocateDirect");
    }
    if (order != ByteOrder.nativeOrder()) {
      throw new IllegalArgumentException(
          "the buffer's order is "
              + order
              + ": kernels read and write numbers in native order, so call"
              + " order(ByteOrder.nativeOrder()) before it is filled");
    }
    this.owner = owner;
    this.bytes = slice.capacity() * elementBytes;
    try (Pointer start = new Pointer(slice)) {
      this.address = start.address();
    }
  }

  /**
   * The memory of {@code buffer} from its position to its limit, which may change afterwards.
   *
   * @param buffer direct, in native order
   */
  public static HostMemory of(ByteBuffer buffer) {
    return new HostMemory(buffer, buffer.slice(), buffer.order(), 1);
  }

  /**
   * The memory of {@code buffer} from its position to its limit, which may change afterwards.
   *
   * @param buffer direct, in native order
   */
  public static HostMemory of(FloatBuffer buffer) {
    return new HostMemory(buffer, buffer.slice(), buffer.order(), Float.BYTES);
  }

  /** Returns the address of the first byte. */
  public long address() {
    return address;
  }

  /** Returns the number of bytes. */
  public long bytes() {
    return bytes;
  }

  /**
   * Returns the address of {@code count} floats, after seeing that they lie within this memory: the
   * calls that take addresses cannot see where memory ends.
   *
   * @param offset in floats, from the first byte on
   */
  public long floats(long offset, long count) {
    if (offset < 0 || count < 0 || offset > bytes / Float.BYTES - count) {
      throw new IllegalArgumentException(
          "floats "
              + (offset + " .. +" + count)
              + (": must lie within the " + bytes / Float.BYTES + " of this memory"));
    }
    return address + offset * Float.BYTES;
  }

  @Override
  public String toString() {
    return bytes + " bytes of " + owner;
  }
}
