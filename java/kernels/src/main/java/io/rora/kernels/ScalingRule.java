package io.rora.kernels;

/** How the factor gamma of a low-rank update {@code gamma B A} follows from alpha and the rank. */
public enum ScalingRule {
  /** {@code alpha / rank}, as in LoRA (arXiv:2106.09685, section 4.1). */
  LORA {
    @Override
    double unchecked(double alpha, int rank) {
      return alpha / rank;
    }
  },
  /**
   * {@code alpha / sqrt(rank)}, as in RoRA (arXiv:2501.04315); rsLoRA (arXiv:2312.03732) is the
   * same arithmetic.
   */
  RORA {
    @Override
    double unchecked(double alpha, int rank) {
      return alpha / Math.sqrt(rank);
    }
  };

  abstract double unchecked(double alpha, int rank);

  /**
   * Returns gamma.
   *
   * @param alpha finite
   * @param rank at least 1
   * @throws IllegalArgumentException if a rule is broken
   */
  public double gamma(double alpha, int rank) {
    if (rank < 1) {
      throw new IllegalArgumentException("rank=" + rank + ": must be at least 1");
    }
    if (!Double.isFinite(alpha)) {
      throw new IllegalArgumentException("alpha=" + alpha + ": must be finite");
    }
    return unchecked(alpha, rank);
  }
}
