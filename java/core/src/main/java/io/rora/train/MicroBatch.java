package io.rora.train;

import io.rora.model.Checkpointing;
import java.util.List;
import java.util.Optional;

/**
 * How an optimiser batch is cut, and what is recomputed. Chosen from model, options and the
 * machine's whole memory alone, never from what happens to be free, so that a run is the same
 * whenever it starts.
 *
 * @param size the micro batch size, given or chosen
 * @param rows most rows of a micro batch; with packing as many as there are
 * @param maxTokens most tokens of one
 */
record MicroBatch(int size, int rows, int maxTokens, Checkpointing checkpointing) {
  // The matrix kernels reach their speed from about here on; more only takes memory.
  private static final int ENOUGH_TOKENS = 1024;
  private static final double SHARE_OF_MEMORY = 0.75;

  /**
   * Chooses.
   *
   * @param longest tokens of the longest sequence
   * @param totalMemory of the machine, or -1 if that is not known
   */
  static MicroBatch choose(
      TrainOptions options, MemoryEstimate.Subject subject, int longest, long totalMemory) {
    int rows =
        options
            .microBatchSize()
            .orElse(
                Math.min(options.batchSize(), Math.max(1, ENOUGH_TOKENS / options.cutoffLen())));
    Optional<Checkpointing> level = options.checkpointActivations().level();
    List<Checkpointing> levels =
        level.isPresent() ? List.of(level.get()) : List.of(Checkpointing.values());
    int least = options.microBatchSize().isPresent() ? rows : 1;
    double limit = totalMemory < 0 ? Double.MAX_VALUE : SHARE_OF_MEMORY * totalMemory;
    MicroBatch choice = null;
    for (; rows >= least; rows = rows == 1 ? 0 : rows / 2) {
      for (Checkpointing candidate : levels) {
        choice = of(options, rows, longest, candidate);
        if (MemoryEstimate.of(subject, choice.maxTokens, candidate).total() <= limit) {
          return choice;
        }
      }
    }
    return choice; // the smallest: whether it fits after all is checked against what is free
  }

  /** With packing, rows that are shorter than the cut-off leave room for more of them. */
  static MicroBatch of(TrainOptions options, int rows, int longest, Checkpointing level) {
    long whole = (long) options.batchSize() * longest;
    long wanted = (long) rows * (options.packing() ? options.cutoffLen() : longest);
    int tokens = (int) Math.min(1 << 24, Math.max(longest, Math.min(whole, wanted)));
    int most = options.packing() ? options.batchSize() : rows;
    return new MicroBatch(rows, most, tokens, level);
  }
}
