package io.rora.model;

import java.util.Map;

/**
 * What a {@link LlamaDecoder} makes room for.
 *
 * @param sequences how many it can hold at a time
 * @param positions most tokens of each, prompt and continuation together
 * @param ranks the largest rank of an adapter that will be attached, per projection path
 */
public record DecoderOptions(int sequences, int positions, Map<String, Integer> ranks) {
  /** Checks and copies. */
  public DecoderOptions {
    if (sequences < 1 || positions < 1) {
      throw new IllegalArgumentException(
          "sequences=" + sequences + ", positions=" + positions + ": both must be at least 1");
    }
    ranks = Map.copyOf(ranks);
  }

  /** One sequence of up to {@code positions} tokens, without adapters. */
  public static DecoderOptions single(int positions) {
    return new DecoderOptions(1, positions, Map.of());
  }
}
