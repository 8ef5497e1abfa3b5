package io.rora.gguf;

import java.util.List;

/**
 * One tensor of a GGUF file.
 *
 * @param name its name, as llama.cpp gives it
 * @param type how its values are stored
 * @param shape its dimensions, outermost first (the file has them the other way round)
 * @param offset first byte in the file
 * @param bytes size in the file
 */
public record GgufTensor(String name, GgufType type, List<Long> shape, long offset, long bytes) {
  /** Copies the shape. */
  public GgufTensor {
    shape = List.copyOf(shape);
  }

  /** Returns the number of elements of one row. */
  public long rowElements() {
    return shape.get(shape.size() - 1);
  }

  /** Returns the number of its elements. */
  public long elements() {
    return shape.stream().reduce(1L, Math::multiplyExact);
  }
}
