package io.rora.benchmarks;

import io.rora.config.ModelConfig;
import io.rora.kernels.DataType;
import io.rora.model.WeightSource;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;
import java.util.Map;

/** A model without files: random matrices with the deviation of fresh ones, and norms of one. */
final class RandomModel implements WeightSource {
  private static final double LARGEST = 0.03;

  private final ModelConfig config;
  private final Map<String, List<Long>> shapes;
  private final Numbers numbers;

  RandomModel(ModelConfig config, Numbers numbers) {
    this.config = config;
    this.shapes = config.tensorShapes();
    this.numbers = numbers;
  }

  @Override
  public Path path() {
    return Path.of("random");
  }

  @Override
  public List<Path> files() {
    return List.of();
  }

  @Override
  public ModelConfig config() {
    return config;
  }

  @Override
  public List<Integer> stopTokenIds() {
    return List.of();
  }

  @Override
  public Collection<String> names() {
    return shapes.keySet();
  }

  @Override
  public boolean has(String name) {
    return shapes.containsKey(name);
  }

  @Override
  public long[] shape(String name) {
    return shapes.get(name).stream().mapToLong(Long::longValue).toArray();
  }

  @Override
  public DataType typeOf(String name) {
    return DataType.F32;
  }

  @Override
  public String describe(String name) {
    return "F32";
  }

  @Override
  public boolean quantised() {
    return false;
  }

  @Override
  public DataType storageType() {
    return DataType.F32;
  }

  @Override
  public void readRows(String name, long row, long rows, ByteBuffer target, DataType targetType) {
    long[] shape = shape(name);
    int count = Math.toIntExact(shape.length == 1 ? rows : rows * shape[1]);
    if (shape.length == 1) {
      for (int i = 0; i < count; i++) {
        target.putFloat(1);
      }
      return;
    }
    int operand = Math.floorMod(name.hashCode() + (int) row, 1 << 20);
    target.asFloatBuffer().put(numbers.array(count, operand, LARGEST));
    target.position(target.position() + count * Float.BYTES);
  }

  @Override
  public String sha256() {
    throw new UnsupportedOperationException("a random model has no files");
  }

  @Override
  public void close() {
    // Nothing is open.
  }
}
