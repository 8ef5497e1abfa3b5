package io.rora.files;

import io.rora.kernels.DataType;
import java.nio.ByteBuffer;

/**
 * How floating-point numbers stand in files: conversions between an element's bits and its value.
 */
public final class FloatFormat {
  private FloatFormat() {}

  /** Returns the value of a half-precision number; exact. */
  public static float fromHalf(short bits) {
    int sign = (bits & 0x8000) << 16;
    int exponent = bits >> 10 & 0x1f;
    int fraction = bits & 0x3ff;
    if (exponent == 0x1f) {
      return Float.intBitsToFloat(sign | 0x7f800000 | fraction << 13);
    }
    if (exponent == 0) { // zero and the subnormals: fraction * 2^-24
      float value = fraction * 0x1p-24f;
      return sign == 0 ? value : -value;
    }
    return Float.intBitsToFloat(sign | (exponent + 112) << 23 | fraction << 13);
  }

  /** Returns the nearest half-precision number, ties to even; too large becomes infinite. */
  public static short toHalf(float value) {
    int bits = Float.floatToRawIntBits(value);
    int sign = bits >>> 16 & 0x8000;
    int magnitude = bits & 0x7fffffff;
    if (magnitude > 0x7f800000) {
      return (short) (sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
    }
    if (magnitude >= 0x477ff000) { // rounds to 65536 or more
      return (short) (sign | 0x7c00);
    }
    if (magnitude < 0x38800000) { // below 2^-14: a multiple of 2^-24
      // Adding 0.5 leaves a float whose last bit is worth 2^-24, so the addition does the rounding.
      int scaled = Float.floatToRawIntBits(Float.intBitsToFloat(magnitude) + 0.5f);
      return (short) (sign | scaled - 0x3f000000);
    }
    int rounded = magnitude + 0xfff + (magnitude >> 13 & 1);
    return (short) (sign | (rounded >> 13) - (112 << 10));
  }

  /** Returns the value of a bfloat16 number; exact. */
  public static float fromBfloat16(short bits) {
    return Float.intBitsToFloat(bits << 16);
  }

  /** Returns the nearest bfloat16 number, ties to even; NaN stays NaN. */
  public static short toBfloat16(float value) {
    int bits = Float.floatToRawIntBits(value);
    if ((bits & 0x7fffffff) > 0x7f800000) {
      return (short) (bits >>> 16 | 0x40);
    }
    return (short) ((bits + 0x7fff + (bits >>> 16 & 1)) >>> 16);
  }

  /** Reads one element at the buffer's position, in the buffer's byte order. */
  public static float get(ByteBuffer source, DataType type) {
    return switch (type) {
      case F32 -> source.getFloat();
      case BF16 -> fromBfloat16(source.getShort());
      case F16 -> fromHalf(source.getShort());
    };
  }

  /**
   * Writes one element at the buffer's position, in the buffer's byte order, rounded to nearest
   * even.
   */
  public static void put(ByteBuffer target, DataType type, float value) {
    switch (type) {
      case F32 -> target.putFloat(value);
      case BF16 -> target.putShort(toBfloat16(value));
      case F16 -> target.putShort(toHalf(value));
    }
  }

  /**
   * Looks for NaN and infinities.
   *
   * @param from position of the first element in the buffer, in bytes; its own position is left
   *     alone
   * @param count number of elements
   * @return the index of the first element that is not finite, or -1
   */
  public static int firstNotFinite(ByteBuffer source, int from, int count, DataType type) {
    long exponent = exponentMask(type);
    long one = exponent & -exponent; // the lowest bit of the lowest element's exponent
    one |= type == DataType.F32 ? one << 32 : (one << 16) | (one << 32) | (one << 48);
    exponent |=
        type == DataType.F32
            ? exponent << 32
            : (exponent << 16) | (exponent << 32) | (exponent << 48);
    long overflow = type == DataType.F32 ? 0x80000000_80000000L : 0x8000_8000_8000_8000L;
    int perLong = Long.BYTES / type.bytes();
    int whole = count / perLong * perLong;
    int i = 0;
    // An exponent of all ones carries into the sign's place: two or four elements are seen at once.
    while (i < whole
        && (((source.getLong(from + i * type.bytes()) & exponent) + one) & overflow) == 0) {
      i += perLong;
    }
    for (; i < count; i++) {
      int at = from + i * type.bytes();
      long bits = type == DataType.F32 ? source.getInt(at) : source.getShort(at);
      if ((bits & exponentMask(type)) == exponentMask(type)) {
        return i;
      }
    }
    return -1;
  }

  private static long exponentMask(DataType type) {
    return switch (type) {
      case F32 -> 0x7f800000L;
      case BF16 -> 0x7f80L;
      case F16 -> 0x7c00L;
    };
  }
}
