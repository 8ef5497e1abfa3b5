package io.rora.generate;

import io.rora.data.CounterRandom;
import java.util.Arrays;

/** Chooses a token by its logits. */
final class Sampler {
  private final GenerationOptions options;
  private final CounterRandom random;
  private final long[] ranked;

  Sampler(GenerationOptions options, int vocabulary) {
    this.options = options;
    this.random = new CounterRandom(options.seed(), 0);
    this.ranked = options.temperature() == 0 ? null : new long[vocabulary];
  }

  GenerationOptions options() {
    return options;
  }

  /** The token that follows; of equal ones the first. */
  int choose(float[] logits) {
    return options.temperature() == 0 ? Logits.best(logits) : draw(logits);
  }

  private int draw(float[] logits) {
    double best = logits[Logits.best(logits)];
    rank(logits);
    double[] weights = new double[ranked.length];
    double total = 0;
    for (int i = 0; i < ranked.length; i++) {
      weights[i] = Math.exp((logits[token(i)] - best) / options.temperature());
      total += weights[i];
    }
    // As many of the most likely tokens as reach topP together, the one that reaches it included.
    int kept = 0;
    double share = 0;
    while (kept < ranked.length && share < options.topP() * total) {
      share += weights[kept++];
    }
    double place = random.uniform() * share;
    int chosen = 0;
    while (chosen < kept - 1 && place >= weights[chosen]) {
      place -= weights[chosen++];
    }
    return token(chosen);
  }

  /** Orders the tokens by falling logit, of equal ones the first. */
  private void rank(float[] logits) {
    for (int id = 0; id < ranked.length; id++) {
      int bits = Float.floatToIntBits(logits[id]);
      int ascending = bits ^ (bits >> 31 & Integer.MAX_VALUE); // ordered like the floats
      ranked[id] = (long) ~ascending << 32 | id;
    }
    Arrays.sort(ranked);
  }

  private int token(int rank) {
    return (int) ranked[rank];
  }
}
