package io.rora.train;

/** What is trained, and for adapters how they are scaled. */
public enum Method {
  /**
   * Low-rank adapters scaled by alpha / sqrt(rank) (arXiv:2501.04315, the arithmetic of rsLoRA).
   */
  RORA,
  /** Low-rank adapters scaled by alpha / rank (arXiv:2106.09685). */
  LORA,
  /** Low-rank adapters with magnitudes (arXiv:2402.09353), of either scaling. */
  DORA,
  /** Every weight of the model. */
  FULL
}
