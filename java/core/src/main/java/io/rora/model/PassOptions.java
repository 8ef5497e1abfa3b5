package io.rora.model;

import java.util.Map;
import java.util.Objects;

/**
 * What a {@link LlamaPass} makes room for.
 *
 * @param maxTokens most tokens of one batch
 * @param training whether it can run backwards; otherwise layers share one set of activations
 * @param checkpointing what a training pass keeps for its backward pass
 * @param ranks the largest rank of an adapter that will be attached, per projection path; a
 *     projection that is absent takes none
 */
public record PassOptions(
    int maxTokens, boolean training, Checkpointing checkpointing, Map<String, Integer> ranks) {
  /** Checks and copies. */
  public PassOptions {
    if (maxTokens < 1) {
      throw new IllegalArgumentException("maxTokens=" + maxTokens + ": must be at least 1");
    }
    Objects.requireNonNull(checkpointing, "checkpointing");
    ranks = Map.copyOf(ranks);
    ranks.forEach(
        (path, rank) -> {
          if (rank < 1) {
            throw new IllegalArgumentException(path + ": rank=" + rank + " must be at least 1");
          }
        });
  }

  /** A pass that only runs forwards, without adapters. */
  public static PassOptions evaluation(int maxTokens) {
    return new PassOptions(maxTokens, false, Checkpointing.NONE, Map.of());
  }

  /** A pass that can run backwards; without {@link #withRanks} only for full fine-tuning. */
  public static PassOptions training(int maxTokens, Checkpointing checkpointing) {
    return new PassOptions(maxTokens, true, checkpointing, Map.of());
  }

  /** These options with room for adapters of the given ranks. */
  public PassOptions withRanks(Map<String, Integer> newRanks) {
    return new PassOptions(maxTokens, training, checkpointing, newRanks);
  }
}
