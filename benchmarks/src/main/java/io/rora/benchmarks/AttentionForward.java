package io.rora.benchmarks;

/** The output of causal attention; libtorch: {@code scaled_dot_product_attention}. */
public class AttentionForward extends AttentionOperator {
  /** JMH makes one. */
  public AttentionForward() {}

  @Override
  boolean backward() {
    return false;
  }
}
