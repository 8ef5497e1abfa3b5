package io.rora.generate;

/**
 * How text is generated.
 *
 * @param maxNewTokens most tokens after the prompt, at least 1
 * @param temperature what logits are divided by before a token is drawn; 0 takes the most likely
 *     one
 * @param topP the share of the probability that is drawn from, most likely tokens first; 1 is all
 * @param seed of the draws: the same seed draws the same tokens
 */
public record GenerationOptions(int maxNewTokens, double temperature, double topP, long seed) {
  /** Checks. */
  public GenerationOptions {
    if (maxNewTokens < 1) {
      throw new IllegalArgumentException("maxNewTokens=" + maxNewTokens + ": must be at least 1");
    }
    if (!(temperature >= 0) || Double.isInfinite(temperature)) {
      throw new IllegalArgumentException("temperature=" + temperature + ": must be at least 0");
    }
    if (!(topP > 0 && topP <= 1)) {
      throw new IllegalArgumentException("topP=" + topP + ": must be above 0 and at most 1");
    }
  }

  /** The most likely token each time. */
  public static GenerationOptions greedy(int maxNewTokens) {
    return new GenerationOptions(maxNewTokens, 0, 1, 0);
  }
}
