package io.rora.generate;

/** What is asked of a row of logits. */
public final class Logits {
  private Logits() {}

  /**
   * The index of the largest, of equal ones the first.
   *
   * @throws IllegalStateException if the largest is not finite
   */
  public static int best(float[] logits) {
    int best = 0;
    for (int id = 1; id < logits.length; id++) {
      if (logits[id] > logits[best]) {
        best = id;
      }
    }
    if (!Float.isFinite(logits[best])) {
      throw new IllegalStateException(
          "the model's output is not finite: its weights or adapter are broken");
    }
    return best;
  }

  /** Subtracts the log of the sum of exponentials from all: logits become log probabilities. */
  public static void logSoftmax(float[] logits) {
    double largest = logits[best(logits)];
    double sum = 0;
    for (float logit : logits) {
      sum += Math.exp(logit - largest);
    }
    double shift = largest + Math.log(sum);
    for (int id = 0; id < logits.length; id++) {
      logits[id] = (float) (logits[id] - shift);
    }
  }
}
