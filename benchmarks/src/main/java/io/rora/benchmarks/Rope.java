package io.rora.benchmarks;

import io.rora.config.RopeConfig;
import io.rora.kernels.Activation;
import io.rora.kernels.Batch;
import io.rora.kernels.RoraContext;

/**
 * The rotary embedding of queries and keys (arXiv:2104.09864), in place. Libtorch has no such
 * operator.
 */
public class Rope extends LayerOperator {
  /** JMH makes one. */
  public Rope() {}

  @Override
  Side rora() {
    RoraContext context = RoraContext.open("cpu", Peers.threads());
    int heads = model.heads + model.kvHeads;
    Activation x = activation(context, heads * model.headDim, 1);
    Batch batch = batch(context);
    io.rora.kernels.Rope rope =
        context.rope(tokens, model.headDim, RopeConfig.of(10000).inverseFrequencies(model.headDim));
    return onContext(
        context, () -> rope.apply(batch, 0, heads, false, x), () -> {}, "x", () -> read(x));
  }
}
