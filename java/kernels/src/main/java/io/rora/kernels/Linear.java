package io.rora.kernels;

/**
 * A linear layer and its adapter on row-major matrices of a context: {@code y = x W^T + scaling (x
 * A^T) B^T}. The kernels are those of {@link LinearGroup} behind a conversion, which costs time: a
 * whole model is better built on groups. {@link RowLinear} is the same on any memory, by address.
 *
 * <p>It refers to matrices of the caller's and owns nothing, so there is nothing to close.
 */
public final class Linear {
  private final RoraContext context;
  private final Weight weight;
  private final FloatMatrix loraA;
  private final FloatMatrix loraB;
  private final double scaling;
  private final RowLinear rows;

  /**
   * Makes a layer; weight and matrices must stay open as long as it is used.
   *
   * @param weight W {@code [outFeatures, inFeatures]}, frozen
   * @param loraA A {@code [rank, inFeatures]}
   * @param loraB B {@code [outFeatures, rank]}
   * @param scaling gamma ({@link ScalingRule#gamma})
   */
  public Linear(Weight weight, FloatMatrix loraA, FloatMatrix loraB, double scaling) {
    this.context = weight.context();
    this.weight = weight;
    this.loraA = loraA;
    this.loraB = loraB;
    this.scaling = scaling;
    this.rows = context.rowLinear(weight, Math.toIntExact(rank()), DataType.F32, DataType.F32);
    placeAdapter();
  }

  /** Returns the rank. */
  public long rank() {
    return loraA.rows();
  }

  /**
   * Computes y; matrices must not overlap.
   *
   * @param x {@code [tokens, inFeatures]}; 0 tokens write nothing
   * @param h {@code [tokens, rank]}, receives {@code scaling x A^T}, which the backward pass reads
   * @param y {@code [tokens, outFeatures]}
   */
  public void forward(FloatMatrix x, FloatMatrix h, FloatMatrix y) {
    long tokens = x.rows();
    placeAdapter();
    rows.forward(
        tokens,
        x.address(context, tokens, weight.inFeatures(), "x"),
        x.stride(),
        h.address(context, tokens, rank(), "h"),
        h.stride(),
        y.address(context, tokens, weight.outFeatures(), "y"),
        y.stride());
  }

  /**
   * Computes the gradients of {@link #forward}; all results are overwritten.
   *
   * @param x as the forward pass read it
   * @param h as the forward pass wrote it
   * @param dy gradient of y
   * @param dA gradient of A {@code [rank, inFeatures]}
   * @param dB gradient of B {@code [outFeatures, rank]}
   * @param dxOrNull gradient of x {@code [tokens, inFeatures]}, or null if it is not wanted
   */
  public void backward(
      FloatMatrix x,
      FloatMatrix h,
      FloatMatrix dy,
      FloatMatrix dA,
      FloatMatrix dB,
      FloatMatrix dxOrNull) {
    long tokens = x.rows();
    placeAdapter();
    rows.gradients(
        dA.address(context, rank(), weight.inFeatures(), "dA"),
        dA.stride(),
        dB.address(context, weight.outFeatures(), rank(), "dB"),
        dB.stride());
    rows.backward(
        tokens,
        x.address(context, tokens, weight.inFeatures(), "x"),
        x.stride(),
        h.address(context, tokens, rank(), "h"),
        h.stride(),
        dy.address(context, tokens, weight.outFeatures(), "dy"),
        dy.stride(),
        /* addToAdapter= */ false,
        dxOrNull == null ? 0 : dxOrNull.address(context, tokens, weight.inFeatures(), "dx"),
        dxOrNull == null ? 0 : dxOrNull.stride(),
        /* addToInput= */ false);
  }

  /** Its matrices may have been closed meanwhile, so they are asked for each time. */
  private void placeAdapter() {
    rows.adapter(
        scaling,
        loraA.address(context, rank(), weight.inFeatures(), "lora_A"),
        loraA.stride(),
        loraB.address(context, weight.outFeatures(), rank(), "lora_B"),
        loraB.stride());
  }
}
