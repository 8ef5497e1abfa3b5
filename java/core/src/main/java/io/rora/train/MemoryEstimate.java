package io.rora.train;

import io.rora.adapter.AdapterConfig;
import io.rora.adapter.AdapterModule;
import io.rora.adapter.AdapterSet;
import io.rora.config.ModelConfig;
import io.rora.kernels.DataType;
import io.rora.model.Checkpointing;
import io.rora.model.LlamaModel;
import io.rora.model.LlamaPass;
import io.rora.model.PassOptions;
import io.rora.model.TrainableTensor;
import java.util.LinkedHashMap;
import java.util.Locale;
import java.util.Map;

/**
 * What a run will take of memory at its peak, by parts.
 *
 * @param weights the base model
 * @param trained values, gradients and moments of what is trained
 * @param activations of a micro batch
 * @param data token sequences
 * @param process the Java machine with its libraries, the tokenizer and scratch memory
 */
record MemoryEstimate(long weights, long trained, long activations, long data, long process) {
  // Measured: a Java machine with the bindings and what loading leaves; the tokenizer's library,
  // by its vocabulary; the texts of the rows while they are tokenised, by their tokens.
  private static final long PROCESS_BYTES = 150L << 20;
  private static final long TOKENIZER_BYTES_PER_TOKEN = 1800;
  private static final long TEXT_SHARE = 4;
  // The logits of a few hundred tokens at a time, in float32.
  private static final long LOGIT_ROWS = 256;
  // Values, gradients and two moments.
  private static final int ARENAS = 4;

  /** What is to be estimated. */
  record Subject(ModelConfig model, DataType type, AdapterConfig adapterOrNull, long dataBytes) {
    boolean full() {
      return adapterOrNull == null;
    }

    PassOptions pass(int maxTokens, Checkpointing checkpointing) {
      PassOptions options = PassOptions.training(maxTokens, checkpointing);
      if (full()) {
        return options;
      }
      Map<String, Integer> ranks = new LinkedHashMap<>();
      for (AdapterModule module : adapterOrNull.modules(model)) {
        ranks.put(module.path(), module.rank());
      }
      return options.withRanks(ranks);
    }
  }

  static MemoryEstimate of(Subject subject, int maxTokens, Checkpointing checkpointing) {
    ModelConfig model = subject.model();
    long floats =
        subject.full()
            ? TrainableTensor.arenaFloats(model)
            : AdapterSet.floats(subject.adapterOrNull(), model);
    return new MemoryEstimate(
        LlamaModel.bytes(model, subject.type()),
        ARENAS * Float.BYTES * floats,
        LlamaPass.bytes(model, subject.type(), subject.pass(maxTokens, checkpointing)),
        TEXT_SHARE * subject.dataBytes(),
        PROCESS_BYTES + model.vocabSize() * (TOKENIZER_BYTES_PER_TOKEN + LOGIT_ROWS * Float.BYTES));
  }

  long total() {
    return weights + trained + activations + data + process;
  }

  /**
   * Checks that it fits.
   *
   * @param available bytes that can still be had, or -1 if that is not known
   * @param resident what of the estimate this process holds already
   * @throws TrainingException saying what takes how much, and what would help
   */
  void requireFits(long available, long resident, boolean microBatchIsOne, boolean recomputesAll) {
    if (available < 0 || total() - Math.max(0, resident) <= available) {
      return;
    }
    StringBuilder advice = new StringBuilder();
    if (!microBatchIsOne) {
      advice.append(" --micro-batch-size 1,");
    }
    if (!recomputesAll) {
      advice.append(" --checkpoint-activations layer,");
    }
    throw new TrainingException(
        "not enough memory: training needs about "
            + gib(total())
            + " ("
            + parts()
            + "), and "
            + gib(available + Math.max(0, resident))
            + " can be had; try"
            + advice
            + " a smaller --cutoff-len or --rank, --dtype bf16, or a smaller model");
  }

  private String parts() {
    return "weights "
        + gib(weights)
        + ", trained values "
        + gib(trained)
        + ", activations "
        + gib(activations)
        + ", data "
        + gib(data)
        + ", process "
        + gib(process);
  }

  static String gib(long bytes) {
    return String.format(Locale.ROOT, "%.2f GiB", bytes / (double) (1L << 30));
  }
}
