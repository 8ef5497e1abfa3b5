package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import io.rora.kernels.bindings.rora_batch;
import java.nio.IntBuffer;

/**
 * What the operators must know of the tokens of one packed micro batch. The caller writes the
 * buffers with absolute puts, then calls {@link #fill}; only then do the operators see them.
 * Documents lie one after the other, and nothing crosses from one to the next.
 *
 * <p>The buffers are direct and hold {@link #maxTokens} elements. They belong to this object: do
 * not touch them after it is closed.
 */
public final class Batch extends NativeObject {
  private static final int NO_LABEL = -100;

  private final rora_batch handle = new rora_batch(null);
  private final int maxTokens;
  private final Column ids;
  private final Column labels;
  private final Column positions;
  private final Column begins;
  private final Column order;
  private int tokens;

  /** One array: what native calls read, and the view of it that callers write. */
  private record Column(IntBuffer memory, IntBuffer view) {
    static Column of(int size) {
      IntBuffer memory = Staging.direct(Math.max(1, size) * Integer.BYTES).asIntBuffer();
      // A view of its own, so that its position and limit are nobody's but the caller's.
      return new Column(memory, memory.duplicate());
    }
  }

  Batch(RoraContext context, int maxTokens) {
    super(context);
    if (maxTokens < 0 || maxTokens > Integer.MAX_VALUE / Integer.BYTES) {
      throw new IllegalArgumentException("maxTokens=" + maxTokens + ": must be at least 0");
    }
    this.maxTokens = maxTokens;
    ids = Column.of(maxTokens);
    labels = Column.of(maxTokens);
    positions = Column.of(maxTokens);
    begins = Column.of(maxTokens);
    order = Column.of(maxTokens);
    for (int token = 0; token < maxTokens; token++) {
      labels.memory.put(token, NO_LABEL);
      order.memory.put(token, token);
    }
    check(Rora.rora_batch_create(context.handle(), maxTokens, handle));
  }

  /** Returns the token ids, at least 0. */
  public IntBuffer ids() {
    checkOpen();
    return ids.view;
  }

  /** Returns the ids that the tokens must predict (already shifted); -100, as at first, is none. */
  public IntBuffer labels() {
    checkOpen();
    return labels.view;
  }

  /** Returns each token's position in its own document, from 0. */
  public IntBuffer positions() {
    checkOpen();
    return positions.view;
  }

  /**
   * Returns the row of the keys and values where each token's document begins: token t attends to
   * rows {@code begins[t]} to {@code begins[t] + positions[t]}, of the batch itself or of a cache.
   */
  public IntBuffer begins() {
    checkOpen();
    return begins.view;
  }

  /**
   * Returns each token's number within the whole optimiser batch, the counter of dropout; at first
   * token t has the number t.
   */
  public IntBuffer order() {
    checkOpen();
    return order.view;
  }

  /** Hands the first {@code tokens} elements of all buffers to the operators. */
  public void fill(int tokens) {
    checkOpen();
    if (tokens < 0 || tokens > maxTokens) {
      throw new IllegalArgumentException(
          "tokens=" + tokens + ": must be between 0 and maxTokens (" + maxTokens + ")");
    }
    check(
        Rora.rora_batch_fill(
            handle,
            tokens,
            ids.memory,
            labels.memory,
            positions.memory,
            begins.memory,
            order.memory));
    this.tokens = tokens;
  }

  /** Returns the largest number of tokens. */
  public int maxTokens() {
    return maxTokens;
  }

  /** Returns the number of tokens of the last {@link #fill}, 0 before the first. */
  public int tokens() {
    return tokens;
  }

  @Override
  void release() {
    Rora.rora_batch_destroy(handle);
  }

  /** The C object, for a call on {@code user}. */
  rora_batch handle(RoraContext user) {
    checkUsableOn(user);
    return handle;
  }

  /** As {@link #handle(RoraContext)}; null for null. */
  static rora_batch handleOrNull(Batch batch, RoraContext user) {
    return batch == null ? null : batch.handle(user);
  }
}
