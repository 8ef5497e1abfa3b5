package io.rora.kernels;

import jcuda.NativePointerObject;
import jcuda.Pointer;

/**
 * The addresses in JCuda's objects, looked up at set-up for {@link RowLinear}, {@link Weight} and
 * {@link RoraContext#useStream}. Whoever calls this has {@code org.jcuda:jcuda} on the class path;
 * nothing else here needs it.
 *
 * <p>The memory and the stream stay the caller's, who keeps them until the last call that uses
 * them.
 */
public final class JcudaPointers {
  private JcudaPointers() {}

  /**
   * Returns the address of device memory, the pointer's byte offset included.
   *
   * @param pointer as cudaMalloc or cuMemAlloc filled it, or cut from such a one by {@code
   *     withByteOffset}
   * @throws IllegalArgumentException if it points to nothing or to a Java array or buffer
   */
  public static long address(Pointer pointer) {
    return new OpenPointer(pointer).address();
  }

  /**
   * Returns the handle of a {@code cudaStream_t} or {@code CUstream} for {@link
   * RoraContext#useStream}. The default stream comes as cudaStreamLegacy, its other name, as 0 is
   * rora's own stream there.
   */
  public static long stream(NativePointerObject stream) {
    long handle = new OpenHandle(stream).value();
    return handle == 0 ? RoraContext.DEFAULT_STREAM : handle;
  }

  /** A copy of a pointer: only a subclass may read what is in it. */
  private static final class OpenPointer extends Pointer {
    OpenPointer(Pointer pointer) {
      super(pointer);
    }

    long address() {
      if (getNativePointer() == 0) {
        throw new IllegalArgumentException(
            this + " is no device memory: allocate with cudaMalloc and copy Java's arrays into it");
      }
      return getNativePointer() + getByteOffset();
    }
  }

  /** A copy of a handle, likewise. */
  private static final class OpenHandle extends NativePointerObject {
    OpenHandle(NativePointerObject handle) {
      super(handle);
    }

    long value() {
      return getNativePointer();
    }
  }
}
