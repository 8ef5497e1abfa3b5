package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.kernels.DataType;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** A model's float32 tensors in memory, random by seed. */
public final class MemorySource implements WeightSource {
  private final ModelConfig config;
  private final Map<String, float[]> tensors = new LinkedHashMap<>();

  /** Norms around one, everything else around zero and large enough to matter. */
  public MemorySource(ModelConfig config, long seed) {
    this.config = config;
    Random random = new Random(seed);
    for (ModelTensor tensor : ModelTensor.of(config)) {
      double scale = tensor.isVector() ? 0.3 : 1 / Math.sqrt((double) tensor.columns());
      double mean = tensor.role() == ModelTensor.Role.NORM ? 1 : 0;
      float[] values = new float[(int) tensor.elements()];
      for (int i = 0; i < values.length; i++) {
        values[i] = (float) (mean + scale * random.nextGaussian());
      }
      tensors.put(tensor.name(), values);
    }
  }

  /** The tensors, which a test may change before the model is loaded. */
  public Map<String, float[]> tensors() {
    return tensors;
  }

  @Override
  public Path path() {
    return Path.of("memory");
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
    return config.eosTokenIds();
  }

  @Override
  public Collection<String> names() {
    return tensors.keySet();
  }

  @Override
  public boolean has(String name) {
    return tensors.containsKey(name);
  }

  @Override
  public long[] shape(String name) {
    List<Long> shape = config.tensorShapes().get(name);
    if (shape.stream().reduce(1L, (a, b) -> a * b) != tensors.get(name).length) {
      return new long[] {tensors.get(name).length};
    }
    return shape.stream().mapToLong(Long::longValue).toArray();
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
    float[] values = tensors.get(name);
    int width = (int) (values.length / shape(name)[0]);
    for (int i = (int) row * width; i < (row + rows) * width; i++) {
      target.putFloat(values[i]);
    }
  }

  @Override
  public String sha256() {
    return "";
  }

  @Override
  public void close() {}
}
