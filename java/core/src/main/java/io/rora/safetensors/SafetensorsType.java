package io.rora.safetensors;

import io.rora.kernels.DataType;
import java.util.Optional;

/**
 * The element types of the safetensors format. Weights are read from {@link #F32}, {@link #F16} and
 * {@link #BF16}.
 */
public enum SafetensorsType {
  BOOL(8),
  F4(4),
  F6_E2M3(6),
  F6_E3M2(6),
  U8(8),
  I8(8),
  F8_E5M2(8),
  F8_E4M3(8),
  F8_E8M0(8),
  F8_E4M3FNUZ(8),
  F8_E5M2FNUZ(8),
  I16(16),
  U16(16),
  F16(16),
  BF16(16),
  I32(32),
  U32(32),
  F32(32),
  C64(64),
  F64(64),
  I64(64),
  U64(64);

  private final int bits;

  SafetensorsType(int bits) {
    this.bits = bits;
  }

  /** Returns the size of one element in bits. */
  public int bits() {
    return bits;
  }

  /** Returns the type that weights of this kind are computed from, or nothing if they cannot be. */
  public Optional<DataType> dataType() {
    return switch (this) {
      case F32 -> Optional.of(DataType.F32);
      case F16 -> Optional.of(DataType.F16);
      case BF16 -> Optional.of(DataType.BF16);
      default -> Optional.empty();
    };
  }

  /** Returns the type in which a file stores elements of {@code type}. */
  public static SafetensorsType of(DataType type) {
    return switch (type) {
      case F32 -> F32;
      case F16 -> F16;
      case BF16 -> BF16;
    };
  }
}
