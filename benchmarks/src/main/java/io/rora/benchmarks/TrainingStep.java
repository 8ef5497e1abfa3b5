package io.rora.benchmarks;

import io.rora.adapter.AdapterConfig;
import io.rora.adapter.AdapterInit;
import io.rora.adapter.AdapterInitializer;
import io.rora.adapter.AdapterSet;
import io.rora.adapter.InitListener;
import io.rora.adapter.TargetModules;
import io.rora.config.ModelConfig;
import io.rora.kernels.AdamwStep;
import io.rora.kernels.Batch;
import io.rora.kernels.DataType;
import io.rora.kernels.FloatArray;
import io.rora.kernels.RoraContext;
import io.rora.kernels.ScalingRule;
import io.rora.model.Checkpointing;
import io.rora.model.LlamaModel;
import io.rora.model.LlamaPass;
import io.rora.model.PassOptions;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Map;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/**
 * A whole optimiser step of fine-tuning with RoRA: forward pass, loss, backward pass, gradient
 * norm, AdamW; on a random model, five targets (q, k, v, up, down) and documents of equal length.
 */
public class TrainingStep extends Operator {
  private static final List<String> TARGETS =
      List.of("q_proj", "k_proj", "v_proj", "up_proj", "down_proj");

  /** Whose sizes. */
  @Param("SMOLLM2_135M")
  public ModelShape model;

  /** The documents that the tokens are cut into. */
  @Param("8")
  public int documents;

  /** The adapters' rank. */
  @Param("32")
  public int rank;

  /** So many of the model's layers; 0 is all. */
  @Param("0")
  public int layers;

  private Numbers numbers;

  /** JMH makes one. */
  public TrainingStep() {}

  @Override
  void prepare(Numbers made) {
    numbers = made;
  }

  /** The most layers of a model whose step fits into so many bytes, at least 1. */
  static int layersWithin(ModelShape model, DataType dtype, int tokens, int rank, double bytes) {
    int layers = model.layers;
    while (layers > 1 && bytes(model.config(layers), dtype, tokens, rank) > bytes) {
      layers--;
    }
    return layers;
  }

  private static double bytes(ModelConfig config, DataType dtype, int tokens, int rank) {
    PassOptions options = PassOptions.training(tokens, Checkpointing.NONE);
    return (double) LlamaModel.bytes(config, dtype)
        + LlamaPass.bytes(config, dtype, options)
        + 4.0 * Float.BYTES * AdapterSet.floats(adapter(rank), config);
  }

  private static AdapterConfig adapter(int rank) {
    return new AdapterConfig(
        null,
        ScalingRule.RORA,
        false,
        rank,
        16,
        0,
        TargetModules.named(TARGETS),
        Map.of(),
        Map.of());
  }

  @Override
  Side side(String name) {
    if (!name.equals(Peers.RORA)) {
      throw Peers.unknown(name, Peers.RORA);
    }
    try {
      return new Step();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  @Override
  void release() {
    numbers = null;
  }

  /** The step. */
  @Benchmark
  public void run() {
    call();
  }

  private final class Step implements Side {
    private final RoraContext context = RoraContext.open("cpu", Peers.threads());
    private final LlamaModel llama;
    private final AdapterSet adapters;
    private final LlamaPass pass;
    private final Batch batch;
    private final AdamwStep step = new AdamwStep();
    private final FloatArray m;
    private final FloatArray v;
    private final int supervised = tokens - documents;

    Step() throws IOException {
      ModelConfig config = model.config(layers == 0 ? model.layers : layers);
      llama = LlamaModel.load(context, new RandomModel(config, numbers), dtype);
      adapters = AdapterSet.create(llama, adapter(rank), true);
      AdapterInitializer.initialise(adapters, AdapterInit.KAIMING, 42, InitListener.none());
      pass =
          LlamaPass.create(
              llama, PassOptions.training(tokens, Checkpointing.NONE).withRanks(adapters.ranks()));
      adapters.attach(pass);
      batch = Documents.batch(context, tokens, documents, model.vocabulary);
      m = context.floats(adapters.values().length());
      v = context.floats(adapters.values().length());
      step.learningRate(1e-4);
    }

    private double step() {
      double loss = pass.forwardLoss(batch, supervised) / supervised;
      pass.backward(batch);
      double norm = Math.sqrt(context.sumOfSquares(adapters.gradients()));
      step.gradientScale(Math.min(1, 1 / norm));
      context.adamw(step, adapters.values(), adapters.gradients(), m, v);
      adapters.refresh();
      return loss;
    }

    @Override
    public void run() {
      step();
    }

    @Override
    public Map<String, float[]> results() {
      return Map.of("loss", new float[] {(float) step()});
    }

    @Override
    public void close() {
      pass.close();
      adapters.close();
      llama.close();
      context.close();
    }
  }
}
