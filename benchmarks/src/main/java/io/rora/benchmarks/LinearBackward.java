package io.rora.benchmarks;

/**
 * The gradients of x, A and B, W being frozen: {@code g = gamma dy B}, {@code dx = dy W + g A},
 * {@code dA = g^T x}, {@code dB = dy^T h}; {@code 2 tokens (in out + 2 rank (in + out))} FLOP.
 */
public class LinearBackward extends LinearOperator {
  /** JMH makes one. */
  public LinearBackward() {}

  @Override
  boolean backward() {
    return true;
  }
}
