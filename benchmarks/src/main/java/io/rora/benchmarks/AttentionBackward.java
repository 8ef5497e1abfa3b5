package io.rora.benchmarks;

/** The gradients of queries, keys and values. */
public class AttentionBackward extends AttentionOperator {
  /** JMH makes one. */
  public AttentionBackward() {}

  @Override
  boolean backward() {
    return true;
  }
}
