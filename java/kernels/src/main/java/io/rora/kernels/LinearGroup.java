package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import io.rora.kernels.bindings.rora_linear;

/**
 * One to four projections that read the same input (q/k/v, gate/up, or a single one), with an
 * optional adapter each. Their outputs stand side by side in one activation, each from {@link
 * #column} on:
 *
 * <pre>
 *   Y  = X W^T + bias + s (X A^T) B^T   is one reduction  [X | H'] [W | B]^T,  H' = s X A^T
 *   dX = dY W + s (dY B) A              is one reduction  [dY | G'] [W ; A],   G' = s dY B
 * </pre>
 *
 * <p>H' lives in the tail of X and G' in the tail of dY, so both need a tail of {@link #tail}.
 */
public final class LinearGroup extends NativeObject {
  private final rora_linear handle = new rora_linear(null);
  private final Weight[] weights;
  private final FloatArray[] biases;
  private final FloatArray[] biasGradients;
  private final LowRank[] adapters;

  LinearGroup(RoraContext context, int projections) {
    super(context);
    check(Rora.rora_linear_create(context.handle(), projections, handle));
    weights = new Weight[projections];
    biases = new FloatArray[projections];
    biasGradients = new FloatArray[projections];
    adapters = new LowRank[projections];
  }

  /**
   * Sets projection {@code index}. All of a group have the same in_features. The weight and the
   * arrays must stay open as long as the group is used.
   *
   * @param biasOrNull {@code [outFeatures]}
   * @param biasGradOrNull the bias's gradient if it is trained
   */
  public void setWeight(
      int index, Weight weight, FloatArray biasOrNull, FloatArray biasGradOrNull) {
    checkOpen();
    checkIndex(index);
    long out = weight.outFeatures();
    check(
        Rora.rora_linear_set_weight(
            handle,
            index,
            weight.handle(context()),
            FloatArray.pointerOrNull(biasOrNull, context(), out, "bias"),
            FloatArray.pointerOrNull(biasGradOrNull, context(), out, "bias gradient")));
    weights[index] = weight;
    biases[index] = biasOrNull;
    biasGradients[index] = biasGradOrNull;
  }

  /** Attaches an adapter to projection {@code index}, or detaches with null. */
  public void setAdapter(int index, LowRank adapterOrNull) {
    checkOpen();
    checkIndex(index);
    check(
        Rora.rora_linear_set_adapter(
            handle, index, adapterOrNull == null ? null : adapterOrNull.handle(context())));
    adapters[index] = adapterOrNull;
  }

  /**
   * Sets the dropout of the adapters' input from now on. Projection i uses mask stream {@code
   * stream + i}.
   *
   * @param probability 0, the default, is off
   * @param step the optimiser's step
   */
  public void setDropout(float probability, long seed, long step, int stream) {
    checkOpen();
    check(Rora.rora_linear_set_dropout(handle, probability, seed, step, stream));
  }

  /**
   * Returns the column where projection {@code index} starts in the output, always even; at the
   * number of projections, the output's width.
   */
  public long column(int index) {
    checkOpen();
    if (index < 0 || index > weights.length) {
      throw new IllegalArgumentException(
          "index=" + index + ": must be between 0 and projections (" + weights.length + ")");
    }
    for (int i = 0; i < weights.length; i++) {
      checkSet(i);
    }
    return Rora.rora_linear_column(handle, index);
  }

  /** Returns the tail columns that x and dy need: the ranks attached, each rounded up to even. */
  public long tail() {
    checkOpen();
    return Rora.rora_linear_tail(handle);
  }

  /**
   * {@code y = linear(x)}, plus the residual if it is not null (which may be y itself). Writes H'
   * into the tail of x and resizes y to the tokens of x.
   *
   * @param batchOrNull needed with dropout, for its order
   */
  public void forward(Batch batchOrNull, Activation x, Activation residualOrNull, Activation y) {
    check(
        Rora.rora_linear_forward(
            usable(),
            Batch.handleOrNull(batchOrNull, context()),
            x.handle(context()),
            Activation.handleOrNull(residualOrNull, context()),
            y.handle(context())));
  }

  /** Writes only H' into the tail of x: for a backward pass that recomputed x. */
  public void shrink(Batch batchOrNull, Activation x) {
    check(
        Rora.rora_linear_shrink(
            usable(), Batch.handleOrNull(batchOrNull, context()), x.handle(context())));
  }

  /**
   * Writes G' into the tail of dy, adds to the gradients of adapters, trained weights and biases,
   * then computes dx if it is not null.
   *
   * @param batchOrNull needed with dropout
   * @param xOrNull the input with H' in its tail; not needed if nothing here is trained
   * @param dy gradient of the output
   * @param accumulate whether dx is added to, rather than overwritten
   * @param dxOrNull gradient of the input
   */
  public void backward(
      Batch batchOrNull,
      Activation xOrNull,
      Activation dy,
      boolean accumulate,
      Activation dxOrNull) {
    check(
        Rora.rora_linear_backward(
            usable(),
            Batch.handleOrNull(batchOrNull, context()),
            Activation.handleOrNull(xOrNull, context()),
            dy.handle(context()),
            accumulate ? 1 : 0,
            Activation.handleOrNull(dxOrNull, context())));
  }

  @Override
  void release() {
    Rora.rora_linear_destroy(handle);
  }

  /** The C object, if it and all that it refers to are open: the library cannot see that. */
  private rora_linear usable() {
    checkOpen();
    for (int i = 0; i < weights.length; i++) {
      checkSet(i);
      weights[i].handle();
      FloatArray.checkOpenOrNull(biases[i]);
      FloatArray.checkOpenOrNull(biasGradients[i]);
      if (adapters[i] != null) {
        adapters[i].checkUsable();
      }
    }
    return handle;
  }

  private void checkIndex(int index) {
    if (index < 0 || index >= weights.length) {
      throw new IllegalArgumentException(
          "index=" + index + ": must be between 0 and " + (weights.length - 1));
    }
  }

  private void checkSet(int index) {
    if (weights[index] == null) {
      throw new IllegalStateException("projection " + index + " has no weight: call setWeight");
    }
  }
}
