package io.rora.benchmarks;

import io.rora.kernels.Activation;
import io.rora.kernels.FloatArray;
import io.rora.kernels.Layers;
import io.rora.kernels.RoraContext;
import java.util.Map;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;

/** RMSNorm of the hidden width (arXiv:1910.07467); libtorch: {@code rms_norm}. */
public class RmsNormForward extends LayerOperator {
  static final float EPSILON = 1e-5f;

  /** JMH makes one. */
  public RmsNormForward() {}

  @Override
  Side rora() {
    RoraContext context = RoraContext.open("cpu", Peers.threads());
    Activation x = activation(context, model.hidden, 1);
    Activation y = activation(context, model.hidden, 0);
    FloatArray weight = weight(context, numbers, model.hidden);
    return onContext(
        context, () -> Layers.rmsNormForward(x, weight, EPSILON, y), y::clear, "y", () -> read(y));
  }

  static FloatArray weight(RoraContext context, Numbers numbers, int width) {
    FloatArray weight = context.floats(width);
    weight.write(0, numbers.array(width, 2, 1), 0, width);
    return weight;
  }

  @Override
  Side torch() {
    Tensor x = tensor(model.hidden, 1);
    Tensor weight = tensor(1, model.hidden, 2, 1).view(model.hidden);
    long[] width = {model.hidden};
    TensorOptional given = new TensorOptional(weight);
    DoubleOptional epsilon = new DoubleOptional(EPSILON);
    return Side.of(
        () -> torch.rms_norm(x, width, given, epsilon).close(),
        () -> Map.of("y", Torch.array(torch.rms_norm(x, width, given, epsilon))),
        x::close);
  }
}
