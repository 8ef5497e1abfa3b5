package io.rora.benchmarks;

import io.rora.kernels.Activation;
import io.rora.kernels.Layers;
import io.rora.kernels.RoraContext;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** The gradients of {@link SwigluForward}'s gate and up. */
public class SwigluBackward extends LayerOperator {
  /** JMH makes one. */
  public SwigluBackward() {}

  @Override
  Side rora() {
    RoraContext context = RoraContext.open("cpu", Peers.threads());
    int width = model.intermediate;
    Activation gateUp = SwigluForward.gateUp(this, context);
    Activation dy = activation(context, width, 3);
    Activation gradient = activation(context, 2 * width, 0);
    Runnable run = () -> Layers.swigluBackward(gateUp, width, dy, gradient);
    return Side.of(
        run,
        () -> {
          run.run();
          float[] gate = new float[tokens * width];
          float[] up = new float[tokens * width];
          gradient.read(0, tokens, 0, width, gate);
          gradient.read(0, tokens, width, width, up);
          return Map.of("dgate", gate, "dup", up);
        },
        context::close);
  }

  @Override
  Side torch() {
    int width = model.intermediate;
    Tensor gate = tensor(width, 1);
    Tensor up = tensor(width, 2);
    Tensor dy = tensor(width, 3);
    Tensor scratch = Torch.zeros(dtype, tokens, width);
    Tensor dGate = Torch.zeros(dtype, tokens, width);
    Tensor dUp = Torch.zeros(dtype, tokens, width);
    Runnable run =
        () -> {
          torch.silu_out(dUp, gate);
          torch.mul_out(dUp, dUp, dy);
          torch.mul_out(scratch, dy, up);
          torch.silu_backward_out(dGate, scratch, gate);
        };
    return Side.of(
        run,
        () -> {
          run.run();
          return Map.of("dgate", Torch.array(dGate), "dup", Torch.array(dUp));
        },
        () -> {
          for (Tensor tensor : new Tensor[] {gate, up, dy, scratch, dGate, dUp}) {
            tensor.close();
          }
        });
  }
}
