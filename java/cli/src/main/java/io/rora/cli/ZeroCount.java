package io.rora.cli;

import io.rora.kernels.DataType;
import io.rora.model.WeightSource;
import io.rora.safetensors.SafetensorsFile;
import io.rora.safetensors.TensorInfo;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.OptionalLong;

/** Counts the zeros of tensors, reading them block by block. */
final class ZeroCount {
  private static final int CHUNK = 1 << 22;

  private final ByteBuffer chunk = ByteBuffer.allocate(CHUNK).order(ByteOrder.LITTLE_ENDIAN);

  /** Zeros of a model's tensor, dequantised where it is quantised. */
  long of(WeightSource source, String name) throws IOException {
    long[] shape = source.shape(name);
    long width = shape.length == 1 ? 1 : shape[1];
    long block = Math.max(1, CHUNK / Float.BYTES / width);
    ByteBuffer rows =
        block * width * Float.BYTES <= CHUNK
            ? chunk
            : ByteBuffer.allocate(Math.toIntExact(width * Float.BYTES))
                .order(ByteOrder.LITTLE_ENDIAN);
    long zeros = 0;
    for (long row = 0; row < shape[0]; row += block) {
      rows.clear();
      source.readRows(name, row, Math.min(block, shape[0] - row), rows, DataType.F32);
      zeros += count(rows.flip(), Float.BYTES);
    }
    return zeros;
  }

  /** Zeros of a tensor in a file; empty if it does not hold F32, F16 or BF16. */
  OptionalLong of(SafetensorsFile file, TensorInfo tensor) throws IOException {
    if (tensor.type().dataType().isEmpty()) {
      return OptionalLong.empty();
    }
    long zeros = 0;
    for (long at = 0; at < tensor.bytes(); at += CHUNK) {
      chunk.clear().limit((int) Math.min(CHUNK, tensor.bytes() - at));
      file.read(tensor.name(), at, chunk);
      zeros += count(chunk.flip(), tensor.type().bits() / 8);
    }
    return OptionalLong.of(zeros);
  }

  /** All bits but the sign are zero. */
  private static long count(ByteBuffer bytes, int width) {
    long zeros = 0;
    while (bytes.hasRemaining()) {
      int bits = width == Float.BYTES ? bytes.getInt() << 1 : bytes.getShort() << 17;
      zeros += bits == 0 ? 1 : 0;
    }
    return zeros;
  }
}
