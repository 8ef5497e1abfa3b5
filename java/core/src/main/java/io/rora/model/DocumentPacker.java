package io.rora.model;

import io.rora.kernels.Batch;

/**
 * Packs documents one behind the other into a {@link Batch}: positions restart with each, and
 * neither attention nor loss crosses from one to the next. Makes no object once it is made.
 */
public final class DocumentPacker {
  /** The label of a token whose successor is not to be predicted. */
  public static final int NO_LABEL = -100;

  private final Batch batch;
  private int tokens;
  private int labels;

  /** A packer of the given batch, which stays the caller's. */
  public DocumentPacker(Batch batch) {
    this.batch = batch;
  }

  /** Begins an empty batch. */
  public void clear() {
    tokens = 0;
    labels = 0;
  }

  /** Whether a document of {@code length} tokens still fits. */
  public boolean fits(int length) {
    return tokens + length <= batch.maxTokens();
  }

  /**
   * Adds a document.
   *
   * @param ids its tokens
   * @param promptTokens the tokens of it that are given rather than predicted; the first token is
   *     never predicted
   * @param order the number of its first token within the optimiser batch, for dropout
   * @return the row of its first token
   */
  public int add(int[] ids, int promptTokens, int order) {
    if (!fits(ids.length)) {
      throw new IllegalArgumentException(
          "a document of "
              + ids.length
              + " tokens does not fit: "
              + tokens
              + " of "
              + batch.maxTokens()
              + " are taken");
    }
    int begin = tokens;
    for (int i = 0; i < ids.length; i++) {
      boolean predicted = i + 1 < ids.length && i + 1 >= promptTokens;
      batch.ids().put(begin + i, ids[i]);
      batch.labels().put(begin + i, predicted ? ids[i + 1] : NO_LABEL);
      batch.positions().put(begin + i, i);
      batch.begins().put(begin + i, begin);
      batch.order().put(begin + i, order + i);
      labels += predicted ? 1 : 0;
    }
    tokens += ids.length;
    return begin;
  }

  /** Tokens added so far. */
  public int tokens() {
    return tokens;
  }

  /** Tokens added so far that have a label. */
  public int labels() {
    return labels;
  }

  /** Hands what was added to the batch. */
  public void fill() {
    batch.fill(tokens);
  }
}
