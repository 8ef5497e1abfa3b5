package io.rora.kernels;

/** An element type. Activations are F32 or BF16; F16 only ever comes from a file. */
public enum DataType {
  /** IEEE 754 single precision. */
  F32(4),
  /** The upper half of an F32: 8 bits of exponent, 7 of fraction. */
  BF16(2),
  /** IEEE 754 half precision: 5 bits of exponent, 10 of fraction. */
  F16(2);

  private final int bytes;

  DataType(int bytes) {
    this.bytes = bytes;
  }

  /** Returns the size of one element in bytes. */
  public int bytes() {
    return bytes;
  }
}
