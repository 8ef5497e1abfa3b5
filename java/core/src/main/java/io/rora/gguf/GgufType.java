package io.rora.gguf;

import java.util.Arrays;
import java.util.Optional;
import java.util.stream.Collectors;

/**
 * The tensor types of GGUF files that can be read. Values stand in blocks, each with its own
 * scales.
 */
public enum GgufType {
  F32(0, 1, 4),
  F16(1, 1, 2),
  Q4_0(2, 32, 18),
  Q4_1(3, 32, 20),
  Q5_0(6, 32, 22),
  Q5_1(7, 32, 24),
  Q8_0(8, 32, 34),
  Q2_K(10, 256, 84),
  Q3_K(11, 256, 110),
  Q4_K(12, 256, 144),
  Q5_K(13, 256, 176),
  Q6_K(14, 256, 210),
  IQ4_NL(20, 32, 18),
  IQ4_XS(23, 256, 136),
  BF16(30, 1, 2);

  /** Names of ggml's types by number, for messages about those that cannot be read. */
  private static final String[] ALL_NAMES =
      ("F32 F16 Q4_0 Q4_1 Q4_2 Q4_3 Q5_0 Q5_1 Q8_0 Q8_1 Q2_K Q3_K Q4_K Q5_K Q6_K Q8_K IQ2_XXS"
              + " IQ2_XS IQ3_XXS IQ1_S IQ4_NL IQ3_S IQ2_S IQ4_XS I8 I16 I32 I64 F64 IQ1_M BF16"
              + " Q4_0_4_4 Q4_0_4_8 Q4_0_8_8 TQ1_0 TQ2_0 IQ4_NL_4_4 IQ4_NL_4_8 IQ4_NL_8_8 MXFP4 NVFP4"
              + " Q1_0")
          .split(" ");

  private final int id;
  private final int blockElements;
  private final int blockBytes;

  GgufType(int id, int blockElements, int blockBytes) {
    this.id = id;
    this.blockElements = blockElements;
    this.blockBytes = blockBytes;
  }

  /** Returns the type with ggml's number, or nothing if it cannot be read. */
  public static Optional<GgufType> of(int id) {
    return Arrays.stream(values()).filter(type -> type.id == id).findFirst();
  }

  /** Returns ggml's name for a type's number, readable or not. */
  static String nameOf(int id) {
    return id >= 0 && id < ALL_NAMES.length
        ? ALL_NAMES[id]
        : "number " + Integer.toUnsignedString(id);
  }

  /** Returns the names of all types that can be read. */
  static String supported() {
    return Arrays.stream(values()).map(Enum::name).collect(Collectors.joining(", "));
  }

  /** Returns ggml's number for this type. */
  public int id() {
    return id;
  }

  /** Returns the number of elements of a block. */
  public int blockElements() {
    return blockElements;
  }

  /** Returns the size of a block in bytes. */
  public int blockBytes() {
    return blockBytes;
  }

  /** Returns whether values are stored in fewer bits than a floating-point number. */
  public boolean quantised() {
    return blockElements > 1;
  }
}
