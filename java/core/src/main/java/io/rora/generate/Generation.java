package io.rora.generate;

import java.util.List;

/**
 * A prompt and what a model made of it.
 *
 * @param promptIds the prompt as tokens
 * @param tokenIds the tokens generated, without the one that ended them
 * @param text these as text
 * @param end why there are no more
 */
public record Generation(List<Integer> promptIds, List<Integer> tokenIds, String text, End end) {
  /** Why a generation ended. */
  public enum End {
    /** The model gave one of its end tokens. */
    STOP_TOKEN,
    /** As many tokens as were asked for. */
    MAX_NEW_TOKENS,
    /** The model's context is full. */
    CONTEXT_FULL,
    /** The listener wanted no more. */
    CANCELLED
  }

  /** Copies the lists. */
  public Generation {
    promptIds = List.copyOf(promptIds);
    tokenIds = List.copyOf(tokenIds);
  }
}
