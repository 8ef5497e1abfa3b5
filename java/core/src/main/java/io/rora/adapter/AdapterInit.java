package io.rora.adapter;

/** How an adapter starts. All of them leave the model's function as it is at the start. */
public enum AdapterInit {
  /** A uniform in +-1/sqrt(in_features), B zero. */
  KAIMING,
  /** A normal with standard deviation 1/rank, B zero. */
  GAUSSIAN,
  /**
   * The base weight's largest singular vectors (arXiv:2404.02948). The base is left alone: the slab
   * of rank 2r B' = [B, -B0], A' = [A; A0] trains its first half, and the second is frozen.
   */
  PISSA
}
