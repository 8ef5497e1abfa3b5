package io.rora.benchmarks;

import io.rora.kernels.Activation;
import io.rora.kernels.Batch;
import io.rora.kernels.Layers;
import io.rora.kernels.RoraContext;
import io.rora.kernels.Weight;
import java.util.Map;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.pytorch.BoolOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.TensorVector;
import org.bytedeco.pytorch.global.torch;

/**
 * The frozen output head, its cross entropy and the gradient of the hidden states, all in one;
 * libtorch: {@code linear}, {@code cross_entropy_loss} and autograd.
 */
public class CrossEntropy extends LayerOperator {
  private static final int MEAN = 1;
  private static final int NO_LABEL = -100;

  private FloatPointer head;

  /** JMH makes one. */
  public CrossEntropy() {}

  @Override
  void prepare(Numbers made) {
    super.prepare(made);
    head = numbers.allocate((long) model.vocabulary * model.hidden, 2, 4 / Math.sqrt(model.hidden));
  }

  @Override
  void release() {
    head.deallocate();
    super.release();
  }

  @Override
  Side rora() {
    RoraContext context = RoraContext.open("cpu", Peers.threads());
    Weight weight = RoraLinear.weight(context, dtype, model.vocabulary, model.hidden, head);
    Batch batch = batch(context);
    Activation x = activation(context, model.hidden, 1);
    Activation dx = activation(context, model.hidden, 0);
    int labelled = tokens - 1;
    return Side.of(
        () -> Layers.crossEntropy(weight, batch, x, labelled, null, dx),
        () -> {
          double sum = Layers.crossEntropy(weight, batch, x, labelled, null, dx);
          return Map.of("loss", new float[] {(float) (sum / labelled)}, "dx", read(dx));
        },
        context::close);
  }

  @Override
  Side torch() {
    Tensor weight = Torch.tensor(head, dtype, model.vocabulary, model.hidden);
    Tensor x = tensor(model.hidden, 1);
    x.set_requires_grad(true);
    Tensor labels = labels();
    TensorVector inputs = new TensorVector(x);
    return Side.of(
        () -> {
          Tensor loss = loss(x, weight, labels);
          gradient(loss, inputs).close();
          loss.close();
        },
        () -> {
          Tensor loss = loss(x, weight, labels);
          return Map.of(
              "loss", Torch.array(loss), "dx", Torch.array(gradient(loss, inputs).get(0)));
        },
        () -> {
          weight.close();
          x.close();
        });
  }

  private Tensor labels() {
    long[] ids = new long[tokens];
    for (int t = 0; t < tokens; t++) {
      ids[t] = t == tokens - 1 ? NO_LABEL : Documents.id(t + 1, model.vocabulary);
    }
    return Torch.longs(ids);
  }

  private static Tensor loss(Tensor x, Tensor weight, Tensor labels) {
    try (Tensor logits = torch.linear(x, weight)) {
      return torch.cross_entropy_loss(logits, labels, new TensorOptional(), MEAN, NO_LABEL, 0);
    }
  }

  private static TensorVector gradient(Tensor loss, TensorVector inputs) {
    try (TensorVector outputs = new TensorVector(loss);
        TensorVector ones = new TensorVector();
        BoolOptional keep = new BoolOptional()) {
      return torch.grad(outputs, inputs, ones, keep, false, false);
    }
  }
}
