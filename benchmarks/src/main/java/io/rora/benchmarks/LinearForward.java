package io.rora.benchmarks;

/**
 * {@code y = x W^T + gamma (x A^T) B^T}, and {@code gamma x A^T} kept for the backward pass: {@code
 * 2 tokens (in out + rank (in + out))} FLOP.
 */
public class LinearForward extends LinearOperator {
  /** JMH makes one. */
  public LinearForward() {}

  @Override
  boolean backward() {
    return false;
  }
}
