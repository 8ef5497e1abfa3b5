package io.rora.train;

import io.rora.kernels.Batch;
import java.nio.IntBuffer;

/**
 * Cuts an optimiser batch into micro batches. Rows always lie one after the other as separate
 * documents, without padding: positions restart, attention and loss do not cross.
 *
 * <p>With packing, a micro batch takes rows in their order as long as their tokens fit into {@code
 * maxTokens}. Without, it takes {@code microRows} rows, however short they are. The loss and its
 * gradients are the same either way, up to rounding.
 */
final class BatchPacker {
  private static final int NO_LABEL = -100;

  private final TokenRows rows;
  private final int microRows;
  private final int maxTokens;
  private int[] batch = new int[0];
  private int count;
  private int next;
  private int order;
  private int supervised;

  /**
   * @param microRows most rows of a micro batch
   * @param maxTokens most tokens of one; every row must fit
   */
  BatchPacker(TokenRows rows, int microRows, int maxTokens) {
    this.rows = rows;
    this.microRows = microRows;
    this.maxTokens = maxTokens;
  }

  /**
   * Begins an optimiser batch.
   *
   * @param newBatch its rows, the first {@code newCount} elements; not changed meanwhile
   */
  void begin(int[] newBatch, int newCount) {
    batch = newBatch;
    count = newCount;
    next = 0;
    order = 0;
  }

  /** Fills the next micro batch; false if there is none. Allocates nothing. */
  boolean next(Batch target) {
    if (next == count) {
      return false;
    }
    int tokens = 0;
    int first = next;
    supervised = 0;
    while (next < count
        && next - first < microRows
        && (next == first || tokens + rows.length(batch[next]) <= maxTokens)) {
      append(target, batch[next], tokens);
      tokens += rows.length(batch[next]);
      next++;
    }
    target.fill(tokens);
    return true;
  }

  private void append(Batch target, int row, int begin) {
    IntBuffer ids = target.ids();
    IntBuffer labels = target.labels();
    int length = rows.length(row);
    for (int i = 0; i < length; i++) {
      boolean labelled = i + 1 < length && rows.supervised(row, i + 1);
      ids.put(begin + i, rows.id(row, i));
      labels.put(begin + i, labelled ? rows.id(row, i + 1) : NO_LABEL);
      target.positions().put(begin + i, i);
      target.begins().put(begin + i, begin);
      target.order().put(begin + i, order++);
    }
    supervised += rows.supervisedTokens(row);
  }

  /** The supervised tokens of the micro batch that {@link #next} filled last. */
  int supervised() {
    return supervised;
  }

  /** The tokens of the optimiser batch. */
  long batchTokens() {
    long tokens = 0;
    for (int i = 0; i < count; i++) {
      tokens += rows.length(batch[i]);
    }
    return tokens;
  }

  /** The supervised tokens of the optimiser batch. */
  long batchSupervised() {
    long tokens = 0;
    for (int i = 0; i < count; i++) {
      tokens += rows.supervisedTokens(batch[i]);
    }
    return tokens;
  }
}
