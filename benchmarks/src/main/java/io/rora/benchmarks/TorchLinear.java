package io.rora.benchmarks;

import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.InferenceMode;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/**
 * Products into tensors made before, the low-rank one added to the dense one's output: no autograd,
 * no allocation. Gradients are overwritten, in the activations' type.
 */
final class TorchLinear implements Side {
  private final LinearOperands operands;
  private final boolean backward;
  private final Tensor w;
  private final Tensor wT;
  private final Tensor a;
  private final Tensor aT;
  private final Tensor b;
  private final Tensor bT;
  private final Tensor x;
  private final Tensor dy;
  private final Tensor dyT;
  private final Tensor h;
  private final Tensor g;
  private final Tensor gT;
  private final Tensor y;
  private final Tensor dx;
  private final Tensor dA;
  private final Tensor dB;
  private final Scalar zero = new Scalar(0.0);
  private final Scalar one = new Scalar(1.0);
  private final Scalar gamma;

  TorchLinear(LinearOperands operands, boolean backward) {
    Torch.open();
    this.operands = operands;
    this.backward = backward;
    var type = operands.type;
    gamma = new Scalar(operands.gamma);
    w = Torch.tensor(operands.w, type, operands.out, operands.in);
    a = Torch.tensor(operands.a, type, operands.rank, operands.in);
    b = Torch.tensor(operands.b, type, operands.out, operands.rank);
    x = Torch.tensor(operands.x, type, operands.tokens, operands.in);
    dy = Torch.tensor(operands.dy, type, operands.tokens, operands.out);
    wT = w.t();
    aT = a.t();
    bT = b.t();
    dyT = dy.t();
    h = Torch.zeros(type, operands.tokens, operands.rank);
    g = Torch.zeros(type, operands.tokens, operands.rank);
    gT = g.t();
    y = Torch.zeros(type, operands.tokens, operands.out);
    dx = Torch.zeros(type, operands.tokens, operands.in);
    dA = Torch.zeros(type, operands.rank, operands.in);
    dB = Torch.zeros(type, operands.out, operands.rank);
    if (operands.rank > 0) {
      torch.addmm_out(h, h, x, aT, zero, gamma);
    }
  }

  @Override
  public void run() {
    InferenceMode mode = new InferenceMode();
    try {
      if (backward) {
        backward();
      } else {
        forward();
      }
    } finally {
      mode.close();
    }
  }

  private void forward() {
    torch.mm_out(y, x, wT);
    if (operands.rank > 0) {
      torch.addmm_out(h, h, x, aT, zero, gamma);
      torch.addmm_out(y, y, h, bT, one, one);
    }
  }

  private void backward() {
    torch.mm_out(dx, dy, w);
    if (operands.rank > 0) {
      torch.addmm_out(g, g, dy, b, zero, gamma);
      torch.addmm_out(dx, dx, g, a, one, one);
      torch.mm_out(dA, gT, x);
      torch.mm_out(dB, dyT, h);
    }
  }

  @Override
  public Map<String, float[]> results() {
    run();
    Map<String, float[]> results = new LinkedHashMap<>();
    if (!backward) {
      results.put("y", Torch.rows(y, operands.comparedRows()));
      return results;
    }
    results.put("dx", Torch.rows(dx, operands.comparedRows()));
    if (operands.rank > 0) {
      results.put("dA", Torch.array(dA));
      results.put("dB", Torch.array(dB));
    }
    return results;
  }

  @Override
  public void close() {
    for (Tensor tensor : new Tensor[] {wT, aT, bT, dyT, gT, w, a, b, x, dy, h, g, y, dx, dA, dB}) {
      tensor.close();
    }
  }
}
