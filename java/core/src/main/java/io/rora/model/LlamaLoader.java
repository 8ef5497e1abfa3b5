package io.rora.model;

import io.rora.kernels.DataType;
import io.rora.kernels.FloatArray;
import io.rora.kernels.RoraContext;
import io.rora.kernels.Weight;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Arrays;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Reads a model's tensors into a context, a block of rows at a time through one buffer. */
final class LlamaLoader {
  // Large enough that calls cost nothing, small enough not to show in the resident set.
  private static final int BLOCK_BYTES = 4 << 20;

  private final RoraContext context;
  private final WeightSource source;
  private final DataType type;
  private final LoadListener listener;
  private final List<ModelTensor> tensors;
  private final long totalElements;
  private final Map<String, Weight> weights = new LinkedHashMap<>();
  private final Map<String, ModelVector> vectors = new HashMap<>();
  private ByteBuffer block = ByteBuffer.allocateDirect(0);
  private long elements;

  LlamaLoader(RoraContext context, WeightSource source, DataType type, LoadListener listener) {
    if (type == DataType.F16) {
      throw new IllegalArgumentException("dtype F16: models compute in F32 or BF16");
    }
    this.context = context;
    this.source = source;
    this.type = type;
    this.listener = listener;
    this.tensors = ModelTensor.of(source.config());
    this.totalElements = tensors.stream().mapToLong(ModelTensor::elements).sum();
  }

  LlamaModel load() throws IOException {
    // All shapes before the first byte: a wrong model is refused at once.
    tensors.forEach(this::checkShape);
    boolean loaded = false;
    try {
      for (ModelTensor tensor : tensors) {
        read(tensor);
      }
      LlamaModel model = new LlamaModel(context, source.config(), type, weights, vectors);
      loaded = true;
      return model;
    } finally {
      if (!loaded) {
        weights.values().forEach(Weight::close);
        vectors.values().forEach(ModelVector::close);
      }
    }
  }

  private void checkShape(ModelTensor tensor) {
    if (!source.has(tensor.name())) {
      throw new IllegalArgumentException(
          tensor.name()
              + " is missing from the model's files; the configuration asks for it as "
              + Arrays.toString(tensor.shape()));
    }
    long[] shape = source.shape(tensor.name());
    if (!Arrays.equals(shape, tensor.shape())) {
      throw new IllegalArgumentException(
          tensor.name()
              + " has shape "
              + Arrays.toString(shape)
              + ", but the configuration asks for "
              + Arrays.toString(tensor.shape())
              + ": its files do not belong together");
    }
  }

  private void read(ModelTensor tensor) throws IOException {
    if (tensor.isVector()) {
      readVector(tensor);
    } else {
      readWeight(tensor);
    }
  }

  private void readWeight(ModelTensor tensor) throws IOException {
    Weight weight = context.weight(type, tensor.rows(), tensor.columns());
    weights.put(tensor.name(), weight);
    DataType stored = source.typeOf(tensor.name());
    long rowBytes = tensor.columns() * stored.bytes();
    long blockRows = Math.max(1, BLOCK_BYTES / rowBytes);
    for (long row = 0; row < tensor.rows(); row += blockRows) {
      long rows = Math.min(blockRows, tensor.rows() - row);
      ByteBuffer buffer = block(rows * rowBytes);
      source.readRows(tensor.name(), row, rows, buffer, stored);
      buffer.clear();
      weight.write(row, rows, stored, buffer);
      progress(tensor, rows * tensor.columns());
    }
  }

  private void readVector(ModelTensor tensor) throws IOException {
    float[] host = source.readFloats(tensor.name());
    FloatArray values = context.floats(host.length);
    values.write(0, host, 0, host.length);
    vectors.put(tensor.name(), new ModelVector(values));
    progress(tensor, tensor.elements());
  }

  /** The buffer, cleared and limited to {@code bytes}; grows for a row longer than a block. */
  private ByteBuffer block(long bytes) {
    if (block.capacity() < bytes) {
      int capacity = Math.toIntExact(Math.max(bytes, BLOCK_BYTES));
      block = ByteBuffer.allocateDirect(capacity).order(ByteOrder.nativeOrder());
    }
    return block.clear().limit((int) bytes).slice().order(ByteOrder.nativeOrder());
  }

  private void progress(ModelTensor tensor, long count) {
    elements += count;
    listener.onProgress(tensor.name(), elements, totalElements);
  }
}
