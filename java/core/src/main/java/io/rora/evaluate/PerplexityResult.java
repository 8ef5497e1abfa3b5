package io.rora.evaluate;

/**
 * How well a model predicts texts.
 *
 * @param n rows
 * @param tokens tokens that were predicted
 * @param nll the sum of their cross entropies, in nats
 */
public record PerplexityResult(int n, long tokens, double nll) {
  /** The mean cross entropy of a token, in nats; 0 of no tokens. */
  public double meanNll() {
    return tokens == 0 ? 0 : nll / tokens;
  }

  /** exp of {@link #meanNll()}. */
  public double perplexity() {
    return Math.exp(meanNll());
  }
}
