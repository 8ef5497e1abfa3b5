package io.rora.safetensors;

import java.util.List;

/**
 * One tensor of a safetensors file.
 *
 * @param name its name
 * @param type its element type
 * @param shape its dimensions, outermost first; empty for a scalar
 * @param begin first byte, counted from the end of the header
 * @param end one past the last byte
 */
public record TensorInfo(
    String name, SafetensorsType type, List<Long> shape, long begin, long end) {
  /** Copies the shape. */
  public TensorInfo {
    shape = List.copyOf(shape);
  }

  /** Returns its size in bytes. */
  public long bytes() {
    return end - begin;
  }

  /** Returns the number of its elements. */
  public long elements() {
    return shape.stream().reduce(1L, Math::multiplyExact);
  }
}
