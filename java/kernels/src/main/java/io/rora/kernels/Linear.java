package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import org.bytedeco.javacpp.FloatPointer;

/**
 * A linear layer and its adapter on row-major matrices, for trainers that keep their own: {@code y
 * = x W^T + scaling (x A^T) B^T}. The kernels are those of {@link LinearGroup} behind a conversion,
 * which costs time: a whole model is better built on groups.
 *
 * <p>It refers to matrices of the caller's and owns nothing, so there is nothing to close.
 */
public final class Linear {
  private final RoraContext context;
  private final Weight weight;
  private final FloatMatrix loraA;
  private final FloatMatrix loraB;
  private final float scaling;

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
    this.scaling = (float) scaling;
    a();
    b();
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
    check(
        Rora.rora_linear_forward_f32(
            context.handle(),
            weight.handle(),
            tokens,
            rank(),
            scaling,
            x.pointer(context, tokens, weight.inFeatures(), "x"),
            x.stride(),
            a(),
            loraA.stride(),
            b(),
            loraB.stride(),
            h.pointer(context, tokens, rank(), "h"),
            h.stride(),
            y.pointer(context, tokens, weight.outFeatures(), "y"),
            y.stride()));
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
    check(
        Rora.rora_linear_backward_f32(
            context.handle(),
            weight.handle(),
            tokens,
            rank(),
            scaling,
            x.pointer(context, tokens, weight.inFeatures(), "x"),
            x.stride(),
            a(),
            loraA.stride(),
            b(),
            loraB.stride(),
            h.pointer(context, tokens, rank(), "h"),
            h.stride(),
            dy.pointer(context, tokens, weight.outFeatures(), "dy"),
            dy.stride(),
            dA.pointer(context, rank(), weight.inFeatures(), "dA"),
            dA.stride(),
            dB.pointer(context, weight.outFeatures(), rank(), "dB"),
            dB.stride(),
            dxOrNull == null ? null : dxOrNull.pointer(context, tokens, weight.inFeatures(), "dx"),
            dxOrNull == null ? weight.inFeatures() : dxOrNull.stride()));
  }

  private FloatPointer a() {
    return loraA.pointer(context, loraA.rows(), weight.inFeatures(), "lora_A");
  }

  private FloatPointer b() {
    return loraB.pointer(context, weight.outFeatures(), rank(), "lora_B");
  }
}
