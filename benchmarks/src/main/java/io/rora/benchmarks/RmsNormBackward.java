package io.rora.benchmarks;

import io.rora.kernels.Activation;
import io.rora.kernels.FloatArray;
import io.rora.kernels.Layers;
import io.rora.kernels.RoraContext;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;

/** The gradient of {@link RmsNormForward}'s input, the norm being frozen. */
public class RmsNormBackward extends LayerOperator {
  /** JMH makes one. */
  public RmsNormBackward() {}

  @Override
  Side rora() {
    RoraContext context = RoraContext.open("cpu", Peers.threads());
    Activation x = activation(context, model.hidden, 1);
    Activation dy = activation(context, model.hidden, 3);
    Activation dx = activation(context, model.hidden, 0);
    FloatArray weight = RmsNormForward.weight(context, numbers, model.hidden);
    return onContext(
        context,
        () -> Layers.rmsNormBackward(x, weight, RmsNormForward.EPSILON, dy, null, dx),
        dx::clear,
        "dx",
        () -> read(dx));
  }

  @Override
  Side torch() {
    Tensor x = tensor(model.hidden, 1);
    x.set_requires_grad(true);
    Tensor weight = tensor(1, model.hidden, 2, 1).view(model.hidden);
    Tensor y =
        torch.rms_norm(
            x,
            new long[] {model.hidden},
            new TensorOptional(weight),
            new DoubleOptional(RmsNormForward.EPSILON));
    return new TorchGradient(y, tensor(model.hidden, 3), x);
  }
}
