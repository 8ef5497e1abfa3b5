package io.rora.model;

/**
 * What a training pass keeps of each layer for its backward pass, and what that pass computes
 * again. The gradients are the same bit for bit at every level; memory and time are not.
 */
public enum Checkpointing {
  /** Keeps everything but what is cheap: norms, silu(gate) * up and the low-rank products. */
  NONE,
  /** Drops gate and up too, the widest activations: about a quarter more time. */
  MLP,
  /**
   * Keeps only each layer's input and runs the layer's forward pass again: about half more time.
   */
  LAYER
}
