package io.rora.model;

import io.rora.config.ModelConfig;
import java.util.ArrayList;
import java.util.List;

/**
 * A tensor of the model and its place in the arenas of full fine-tuning.
 *
 * @param tensor which one
 * @param offset its first float in each arena: {@code tensor.elements()} floats, row-major
 */
public record TrainableTensor(ModelTensor tensor, long offset) {
  // 16 floats fill a cache line, where a tensor's own writes should end. Gaps stay zero.
  private static final long ALIGNMENT = 16;

  /** Every tensor of a model, in the fixed order of {@link ModelTensor#of}. */
  public static List<TrainableTensor> of(ModelConfig config) {
    List<TrainableTensor> tensors = new ArrayList<>();
    long offset = 0;
    for (ModelTensor tensor : ModelTensor.of(config)) {
      tensors.add(new TrainableTensor(tensor, offset));
      offset = aligned(offset + tensor.elements());
    }
    return List.copyOf(tensors);
  }

  /** The floats that one arena (values, gradients or a moment) of a model needs. */
  public static long arenaFloats(ModelConfig config) {
    List<TrainableTensor> tensors = of(config);
    TrainableTensor last = tensors.get(tensors.size() - 1);
    return aligned(last.offset + last.tensor.elements());
  }

  private static long aligned(long floats) {
    return (floats + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }
}
