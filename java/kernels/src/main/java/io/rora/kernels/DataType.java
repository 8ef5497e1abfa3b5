package io.rora.kernels;

import io.rora.kernels.bindings.Rora;

/** Element types. Weights and activations are {@link #F32} or {@link #BF16}. */
public enum DataType {
  /** IEEE 754 binary32. */
  F32(Rora.RORA_F32, 4),
  /** The upper half of an F32. */
  BF16(Rora.RORA_BF16, 2),
  /** IEEE 754 binary16; it only ever comes from a file. */
  F16(Rora.RORA_F16, 2);

  private final int code;
  private final int bytes;

  DataType(int code, int bytes) {
    this.code = code;
    this.bytes = bytes;
  }

  /** Returns the bytes that one element takes. */
  public int bytes() {
    return bytes;
  }

  /** The C API's {@code rora_dtype}. */
  int code() {
    return code;
  }
}
