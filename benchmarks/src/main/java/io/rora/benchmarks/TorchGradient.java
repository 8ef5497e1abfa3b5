package io.rora.benchmarks;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/** The backward pass alone of something computed once: autograd on a graph that is kept. */
final class TorchGradient implements Side {
  private final TensorVector outputs;
  private final TensorVector gradients;
  private final TensorVector inputs;
  private final BoolOptional keep = new BoolOptional(true);
  private final List<Tensor> held;

  /**
   * Takes over the tensors.
   *
   * @param inputs whose gradients are wanted; the result is called dx for one, dqkv for several
   */
  TorchGradient(Tensor output, Tensor gradient, Tensor... inputs) {
    outputs = new TensorVector(output);
    gradients = new TensorVector(gradient);
    this.inputs = new TensorVector(inputs);
    held = Arrays.asList(inputs);
  }

  private TensorVector gradient() {
    return torch.grad(outputs, inputs, gradients, keep, false, false);
  }

  @Override
  public void run() {
    gradient().close();
  }

  @Override
  public Map<String, float[]> results() {
    Map<String, float[]> results = new LinkedHashMap<>();
    try (TensorVector found = gradient()) {
      for (int i = 0; i < held.size(); i++) {
        results.put(held.size() == 1 ? "dx" : "d" + "qkv".charAt(i), Torch.array(found.get(i)));
      }
    }
    return results;
  }

  @Override
  public void close() {
    outputs.close();
    gradients.close();
    inputs.close();
  }
}
