package io.rora.kernels;

import org.bytedeco.javacpp.Pointer;

/**
 * The addresses in JavaCPP's pointers, those of bytedeco's CUDA among them, looked up at set-up for
 * {@link RowLinear}, {@link Weight} and {@link RoraContext#useStream}.
 *
 * <p>The memory and the stream stay the caller's, who keeps them until the last call that uses
 * them.
 */
public final class JavacppPointers {
  private JavacppPointers() {}

  /**
   * Returns the address that the pointer stands at, its position included: on the host, or on the
   * device where cudaMalloc filled it.
   *
   * @throws IllegalArgumentException if it is NULL
   */
  public static long address(Pointer pointer) {
    if (pointer.isNull()) {
      throw new IllegalArgumentException(
          "the pointer is NULL: allocate first, with cudaMalloc for device memory");
    }
    return pointer.address() + pointer.position() * pointer.sizeof();
  }

  /**
   * Returns the handle of a stream ({@code CUstream_st}) for {@link RoraContext#useStream}. The
   * default stream, NULL or null, comes as cudaStreamLegacy, its other name, as 0 is rora's own
   * stream there.
   */
  public static long stream(Pointer streamOrNull) {
    return streamOrNull == null || streamOrNull.isNull()
        ? RoraContext.DEFAULT_STREAM
        : streamOrNull.address();
  }
}
