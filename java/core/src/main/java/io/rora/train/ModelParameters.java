package io.rora.train;

import io.rora.adapter.AdapterModule;
import io.rora.files.FileSink;
import io.rora.kernels.FloatArray;
import io.rora.model.HuggingFaceWriter;
import io.rora.model.LlamaModel;
import io.rora.model.LlamaPass;
import io.rora.model.ModelTensor;
import io.rora.model.TrainableTensor;
import io.rora.model.WeightSource;
import java.io.IOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** Trains every weight of a model, from float32 masters. */
final class ModelParameters implements TrainedParameters {
  private final LlamaModel model;
  private final HuggingFaceWriter writer;
  private final FloatArray values;
  private final FloatArray gradients;
  private final Map<String, TrainableTensor> tensors = new HashMap<>();
  private long parameters;

  /** Binds a model; its passes must be made afterwards. */
  ModelParameters(LlamaModel model, WeightSource source) {
    this.model = model;
    this.writer = new HuggingFaceWriter(source, model.dataType());
    long floats = TrainableTensor.arenaFloats(model.config());
    this.values = model.context().floats(floats);
    this.gradients = model.context().floats(floats);
    model.train(values, gradients);
    for (TrainableTensor tensor : TrainableTensor.of(model.config())) {
      tensors.put(tensor.tensor().name(), tensor);
      parameters += tensor.tensor().elements();
    }
  }

  @Override
  public FloatArray values() {
    return values;
  }

  @Override
  public FloatArray gradients() {
    return gradients;
  }

  @Override
  public long split() {
    return values.length();
  }

  @Override
  public long parameters() {
    return parameters;
  }

  @Override
  public List<AdapterModule> modules() {
    return List.of();
  }

  @Override
  public void attach(LlamaPass pass) {} // the pass was made from the bound model

  @Override
  public void refresh() {
    model.refresh();
  }

  /** A Hugging Face directory in the type that the model computes with. */
  @Override
  public void write(FileSink sink) throws IOException {
    writer.write(sink, this::readRows);
  }

  private void readRows(String name, long row, int rows, float[] target) {
    TrainableTensor place = tensors.get(name);
    ModelTensor tensor = place.tensor();
    int width = Math.toIntExact(tensor.columns());
    values.read(place.offset() + row * width, target, 0, rows * width);
  }

  /** A checkpoint keeps the arena itself: simpler than finding every tensor in the shards again. */
  @Override
  public boolean writeRounds() {
    return true;
  }

  @Override
  public void read(Path directory) {
    throw new IllegalStateException("the values stand in the checkpoint's own file");
  }

  @Override
  public void close() {
    model.freeze();
    gradients.close();
    values.close();
  }
}
