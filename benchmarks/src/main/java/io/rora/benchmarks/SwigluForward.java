package io.rora.benchmarks;

import io.rora.kernels.Activation;
import io.rora.kernels.Layers;
import io.rora.kernels.RoraContext;
import java.util.Map;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** {@code silu(gate) o up} (arXiv:2002.05202); libtorch: {@code silu} and {@code mul}. */
public class SwigluForward extends LayerOperator {
  /** JMH makes one. */
  public SwigluForward() {}

  /** Gate and up side by side, with the numbers of operands 1 and 2. */
  static Activation gateUp(LayerOperator operator, RoraContext context) {
    int width = operator.model.intermediate;
    Activation both = operator.activation(context, 2 * width, 0);
    both.write(0, width, operator.numbers.array(operator.tokens * width, 1, 1));
    both.write(width, width, operator.numbers.array(operator.tokens * width, 2, 1));
    return both;
  }

  @Override
  Side rora() {
    RoraContext context = RoraContext.open("cpu", Peers.threads());
    Activation gateUp = gateUp(this, context);
    Activation y = activation(context, model.intermediate, 0);
    return onContext(
        context,
        () -> Layers.swigluForward(gateUp, model.intermediate, y),
        y::clear,
        "y",
        () -> read(y));
  }

  @Override
  Side torch() {
    Tensor gate = tensor(model.intermediate, 1);
    Tensor up = tensor(model.intermediate, 2);
    Tensor y = Torch.zeros(dtype, tokens, model.intermediate);
    Runnable run =
        () -> {
          torch.silu_out(y, gate);
          torch.mul_out(y, y, up);
        };
    return Side.of(
        run,
        () -> {
          run.run();
          return Map.of("y", Torch.array(y));
        },
        () -> {
          gate.close();
          up.close();
          y.close();
        });
  }
}
