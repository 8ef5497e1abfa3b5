package io.rora.benchmarks;

import io.rora.kernels.Activation;
import io.rora.kernels.Batch;
import io.rora.kernels.Layers;
import io.rora.kernels.RoraContext;
import io.rora.kernels.Weight;
import java.util.Map;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;

/** A table's rows by the tokens' ids; libtorch: {@code embedding}. */
public class Embedding extends LayerOperator {
  private FloatPointer table;

  /** JMH makes one. */
  public Embedding() {}

  @Override
  void prepare(Numbers made) {
    super.prepare(made);
    table = numbers.allocate((long) model.vocabulary * model.hidden, 1, 1);
  }

  @Override
  void release() {
    table.deallocate();
    super.release();
  }

  @Override
  Side rora() {
    RoraContext context = RoraContext.open("cpu", Peers.threads());
    Weight weight = RoraLinear.weight(context, dtype, model.vocabulary, model.hidden, table);
    Batch batch = batch(context);
    Activation y = activation(context, model.hidden, 0);
    return onContext(
        context, () -> Layers.embeddingForward(weight, batch, y), y::clear, "y", () -> read(y));
  }

  @Override
  Side torch() {
    Tensor weight = Torch.tensor(table, dtype, model.vocabulary, model.hidden);
    long[] ids = new long[tokens];
    for (int t = 0; t < tokens; t++) {
      ids[t] = Documents.id(t, model.vocabulary);
    }
    Tensor indices = Torch.longs(ids);
    Tensor y = Torch.zeros(dtype, tokens, model.hidden);
    Runnable run = () -> torch.embedding_out(y, weight, indices);
    return Side.of(
        run,
        () -> {
          run.run();
          return Map.of("y", Torch.array(y));
        },
        weight::close);
  }
}
