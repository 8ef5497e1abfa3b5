package io.rora.gguf;

import io.rora.files.FloatFormat;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;

/**
 * Turns the blocks of GGUF tensors into floats, bit for bit as ggml and the {@code gguf} Python
 * package do. In the comments d is a block's scale and q a value's bits; "K" types have 256 values
 * in blocks of 16 or 32 with scales of their own.
 */
public final class GgufDequantizer {
  private static final VarHandle SHORT =
      MethodHandles.byteArrayViewVarHandle(short[].class, ByteOrder.LITTLE_ENDIAN);
  private static final VarHandle INT =
      MethodHandles.byteArrayViewVarHandle(int[].class, ByteOrder.LITTLE_ENDIAN);

  private static final int K_ELEMENTS = 256;

  /** The values of the 4-bit codes of IQ4_NL and IQ4_XS. */
  private static final float[] IQ4_VALUES = {
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113
  };

  private GgufDequantizer() {}

  /**
   * Dequantises whole blocks.
   *
   * @param blocks number of blocks
   * @param source holds {@code blocks * type.blockBytes()} bytes from {@code from} on
   * @param target receives {@code blocks * type.blockElements()} values from {@code to} on
   */
  public static void dequantize(
      GgufType type, int blocks, byte[] source, int from, float[] target, int to) {
    for (int i = 0; i < blocks; i++) {
      int at = from + i * type.blockBytes();
      int out = to + i * type.blockElements();
      switch (type) {
        case F32 -> target[out] = Float.intBitsToFloat((int) INT.get(source, at));
        case F16 -> target[out] = half(source, at);
        case BF16 -> target[out] = FloatFormat.fromBfloat16((short) SHORT.get(source, at));
        case Q4_0 -> q40(source, at, target, out);
        case Q4_1 -> q41(source, at, target, out);
        case Q5_0 -> q50(source, at, target, out);
        case Q5_1 -> q51(source, at, target, out);
        case Q8_0 -> q80(source, at, target, out);
        case Q2_K -> q2k(source, at, target, out);
        case Q3_K -> q3k(source, at, target, out);
        case Q4_K -> q4k(source, at, target, out);
        case Q5_K -> q5k(source, at, target, out);
        case Q6_K -> q6k(source, at, target, out);
        case IQ4_NL -> iq4(source, at + 2, half(source, at), target, out);
        case IQ4_XS -> iq4xs(source, at, target, out);
      }
    }
  }

  private static float half(byte[] source, int at) {
    return FloatFormat.fromHalf((short) SHORT.get(source, at));
  }

  private static int bits(int value, int shift, int mask) {
    return (value >> shift) & mask;
  }

  private static int low(byte value) {
    return value & 15;
  }

  private static int high(byte value) {
    return (value >> 4) & 15;
  }

  /** d (q - 8): the low halves of 16 bytes are the first 16 values, the high halves the others. */
  private static void q40(byte[] source, int at, float[] target, int out) {
    float d = half(source, at);
    for (int i = 0; i < 16; i++) {
      target[out + i] = d * (low(source[at + 2 + i]) - 8);
      target[out + 16 + i] = d * (high(source[at + 2 + i]) - 8);
    }
  }

  /** d q + m. */
  private static void q41(byte[] source, int at, float[] target, int out) {
    float d = half(source, at);
    float m = half(source, at + 2);
    for (int i = 0; i < 16; i++) {
      target[out + i] = d * low(source[at + 4 + i]) + m;
      target[out + 16 + i] = d * high(source[at + 4 + i]) + m;
    }
  }

  /** d (q - 16); the fifth bits stand in a word of their own. */
  private static void q50(byte[] source, int at, float[] target, int out) {
    float d = half(source, at);
    int fifth = (int) INT.get(source, at + 2);
    for (int i = 0; i < 16; i++) {
      target[out + i] = d * (low(source[at + 6 + i]) + 16 * bits(fifth, i, 1) - 16);
      target[out + 16 + i] = d * (high(source[at + 6 + i]) + 16 * bits(fifth, 16 + i, 1) - 16);
    }
  }

  /** d q + m with five bits. */
  private static void q51(byte[] source, int at, float[] target, int out) {
    float d = half(source, at);
    float m = half(source, at + 2);
    int fifth = (int) INT.get(source, at + 4);
    for (int i = 0; i < 16; i++) {
      target[out + i] = d * (low(source[at + 8 + i]) + 16 * bits(fifth, i, 1)) + m;
      target[out + 16 + i] = d * (high(source[at + 8 + i]) + 16 * bits(fifth, 16 + i, 1)) + m;
    }
  }

  /** d q with signed bytes. */
  private static void q80(byte[] source, int at, float[] target, int out) {
    float d = half(source, at);
    for (int i = 0; i < 32; i++) {
      target[out + i] = d * source[at + 2 + i];
    }
  }

  /** Returns the two bits of value i where 4 x 32 values share 32 bytes. */
  private static int twoBits(byte[] source, int at, int i) {
    return bits(source[at + i / 128 * 32 + i % 32], i % 128 / 32 * 2, 3);
  }

  /** (d scale) q - dmin minimum: 16 bytes of scale and minimum, 64 of values, d, dmin. */
  private static void q2k(byte[] source, int at, float[] target, int out) {
    float d = half(source, at + 80);
    float dmin = half(source, at + 82);
    for (int block = 0; block < 16; block++) {
      float scale = d * low(source[at + block]);
      float minimum = dmin * high(source[at + block]);
      for (int i = block * 16; i < block * 16 + 16; i++) {
        target[out + i] = scale * twoBits(source, at + 16, i) - minimum;
      }
    }
  }

  /**
   * (d scale) q: 32 bytes of third bits (a set one means "not minus 4"), 64 of values, 12 of
   * scales, d.
   */
  private static void q3k(byte[] source, int at, float[] target, int out) {
    float d = half(source, at + 108);
    int scales = at + 96;
    for (int block = 0; block < 16; block++) {
      int low = bits(source[scales + block % 8], block / 8 * 4, 15);
      int high = bits(source[scales + 8 + block % 4], block / 4 * 2, 3);
      float scale = d * (low + 16 * high - 32);
      for (int i = block * 16; i < block * 16 + 16; i++) {
        int third = bits(source[at + i % 32], i / 32, 1);
        target[out + i] = scale * (twoBits(source, at + 32, i) - 4 + 4 * third);
      }
    }
  }

  /**
   * Returns scale number {@code block} of the 12 bytes that hold 8 scales and 8 minima of 6 bits.
   */
  private static int scale(byte[] source, int at, int block) {
    if (block < 4) {
      return source[at + block] & 63;
    }
    return low(source[at + block + 4]) + 16 * bits(source[at + block - 4], 6, 3);
  }

  private static int minimum(byte[] source, int at, int block) {
    if (block < 4) {
      return source[at + block + 4] & 63;
    }
    return high(source[at + block + 4]) + 16 * bits(source[at + block], 6, 3);
  }

  /**
   * (d scale) q - dmin minimum: d, dmin, 12 bytes of scales, 128 of values, two blocks of 32
   * sharing 32 bytes.
   */
  private static void q4k(byte[] source, int at, float[] target, int out) {
    float d = half(source, at);
    float dmin = half(source, at + 2);
    for (int block = 0; block < 8; block++) {
      float scale = d * scale(source, at + 4, block);
      float minimum = dmin * minimum(source, at + 4, block);
      int values = at + 16 + block / 2 * 32;
      for (int i = 0; i < 32; i++) {
        target[out + block * 32 + i] =
            scale * bits(source[values + i], block % 2 * 4, 15) - minimum;
      }
    }
  }

  /**
   * As Q4_K, with 32 bytes of fifth bits before the values: bit b of byte i is that of value i of
   * block b.
   */
  private static void q5k(byte[] source, int at, float[] target, int out) {
    float d = half(source, at);
    float dmin = half(source, at + 2);
    for (int block = 0; block < 8; block++) {
      float scale = d * scale(source, at + 4, block);
      float minimum = dmin * minimum(source, at + 4, block);
      int values = at + 48 + block / 2 * 32;
      for (int i = 0; i < 32; i++) {
        int q =
            bits(source[values + i], block % 2 * 4, 15) + 16 * bits(source[at + 16 + i], block, 1);
        target[out + block * 32 + i] = scale * q - minimum;
      }
    }
  }

  /** (d scale) (q - 32): 128 bytes of low halves, 64 of two high bits each, 16 signed scales, d. */
  private static void q6k(byte[] source, int at, float[] target, int out) {
    float d = half(source, at + 208);
    for (int i = 0; i < K_ELEMENTS; i++) {
      int row = i / 32 % 4; // of the four rows of 32 in each half
      int low = bits(source[at + i / 128 * 64 + row % 2 * 32 + i % 32], row / 2 * 4, 15);
      int high = bits(source[at + 128 + i / 128 * 32 + i % 32], row * 2, 3);
      target[out + i] = d * source[at + 192 + i / 16] * (low + 16 * high - 32);
    }
  }

  /** d value[q]. */
  private static void iq4(byte[] source, int at, float d, float[] target, int out) {
    for (int i = 0; i < 16; i++) {
      target[out + i] = d * IQ4_VALUES[low(source[at + i])];
      target[out + 16 + i] = d * IQ4_VALUES[high(source[at + i])];
    }
  }

  /**
   * (d (scale - 32)) value[q]: d, two high bits of 8 scales, their low halves, 128 bytes of values.
   */
  private static void iq4xs(byte[] source, int at, float[] target, int out) {
    float d = half(source, at);
    int highBits = (short) SHORT.get(source, at + 2);
    for (int block = 0; block < 8; block++) {
      int low = bits(source[at + 4 + block / 2], block % 2 * 4, 15);
      float scale = d * (low + 16 * bits(highBits, block * 2, 3) - 32);
      iq4(source, at + 8 + block * 16, scale, target, out + block * 32);
    }
  }
}
