package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import io.rora.kernels.bindings.rora_attention_shape;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Pointer;

/**
 * Causal attention with grouped queries (arXiv:2305.13245) over packed documents; scores are scaled
 * by {@code 1 / sqrt(headDim)}.
 */
public final class Attention extends NativeObject {
  private static final long PANEL = 64; // tokens, as lse's rows are rounded up to

  private final rora_attention_shape shape =
      new rora_attention_shape(new Pointer(Staging.direct(5 * Long.BYTES)));
  private final int heads;

  Attention(
      RoraContext context, int heads, int kvHeads, int headDim, long keyColumn, long valueColumn) {
    super(context);
    context.handle();
    if (heads < 1 || kvHeads < 1 || heads % kvHeads != 0) {
      throw new IllegalArgumentException(
          "kvHeads=" + kvHeads + ": must divide heads (" + heads + ")");
    }
    if (headDim < 2 || headDim % 2 != 0) {
      throw new IllegalArgumentException("headDim=" + headDim + ": must be even");
    }
    this.heads = heads;
    shape.heads(heads);
    shape.kv_heads(kvHeads);
    shape.head_dim(headDim);
    shape.key_column(keyColumn);
    shape.value_column(valueColumn);
  }

  /** Returns the floats of the {@code lse} that goes with an activation of this capacity. */
  public long lseLength(long maxTokens) {
    return heads * ((maxTokens + PANEL - 1) / PANEL * PANEL);
  }

  /**
   * Each token attends to its own document up to itself.
   *
   * @param lseOrNull receives the logarithms of the sums of exponentials, which the backward pass
   *     reads; {@link #lseLength} of qkv's maxTokens
   * @param y {@code [tokens, heads * headDim]}
   */
  public void forward(Batch batch, Activation qkv, FloatArray lseOrNull, Activation y) {
    checkOpen();
    check(
        Rora.rora_attention_forward(
            shape,
            batch.handle(context()),
            qkv.handle(context()),
            lse(lseOrNull, qkv),
            y.handle(context())));
  }

  /**
   * Writes the gradients of q, k and v to dQkv.
   *
   * @param y as the forward pass wrote it
   * @param lse as the forward pass wrote it
   * @param dy gradient of y
   */
  public void backward(
      Batch batch, Activation qkv, Activation y, FloatArray lse, Activation dy, Activation dQkv) {
    checkOpen();
    check(
        Rora.rora_attention_backward(
            shape,
            batch.handle(context()),
            qkv.handle(context()),
            y.handle(context()),
            lse(lse, qkv),
            dy.handle(context()),
            dQkv.handle(context())));
  }

  /**
   * Stores the tokens' keys and values in the cache at rows {@code begins[t] + positions[t]}, keys
   * from column 0 on and values from {@code kvHeads * headDim} rounded up to even on; then token t
   * attends to cache rows {@code begins[t]} to {@code begins[t] + positions[t]}.
   *
   * @param cache resized to all its rows by the caller
   */
  public void cached(Batch batch, Activation qkv, Activation cache, Activation y) {
    checkOpen();
    check(
        Rora.rora_attention_cached(
            shape,
            batch.handle(context()),
            qkv.handle(context()),
            cache.handle(context()),
            y.handle(context())));
  }

  @Override
  void release() {
    // The shape lives in a direct buffer.
  }

  private FloatPointer lse(FloatArray lse, Activation qkv) {
    return FloatArray.pointerOrNull(lse, context(), lseLength(qkv.maxTokens()), "lse");
  }
}
