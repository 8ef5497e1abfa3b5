package io.rora.benchmarks;

import io.rora.kernels.Batch;
import io.rora.kernels.RoraContext;

/** Batches of made-up documents of one length. */
final class Documents {
  private static final int STRIDE = 7919; // a prime: ids spread over the vocabulary
  private static final int NO_LABEL = -100;

  private Documents() {}

  /** The id of a token. */
  static int id(int token, int vocabulary) {
    return (int) ((long) token * STRIDE % vocabulary);
  }

  /**
   * A filled batch; every token but each document's last has the next one's id as its label.
   *
   * @param documents divides {@code tokens}
   */
  static Batch batch(RoraContext context, int tokens, int documents, int vocabulary) {
    if (documents < 1 || tokens % documents != 0) {
      throw new IllegalArgumentException(
          "documents=" + documents + ": must divide tokens (" + tokens + ")");
    }
    int length = tokens / documents;
    Batch batch = context.batch(tokens);
    for (int t = 0; t < tokens; t++) {
      int position = t % length;
      batch.ids().put(t, id(t, vocabulary));
      batch.labels().put(t, position == length - 1 ? NO_LABEL : id(t + 1, vocabulary));
      batch.positions().put(t, position);
      batch.begins().put(t, t - position);
    }
    batch.fill(tokens);
    return batch;
  }
}
