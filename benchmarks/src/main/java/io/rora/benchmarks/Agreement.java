package io.rora.benchmarks;

import io.rora.kernels.DataType;
import java.util.Map;

/** Sees that two sides computed the same, so that their times are times of the same work. */
final class Agreement {
  // Far above what rounding does to sums of some thousand products, far below any wrong result.
  private static final double F32_BOUND = 1e-3;
  private static final double BF16_BOUND = 3e-2;

  private Agreement() {}

  /**
   * Compares results by the relative Frobenius norm of their difference.
   *
   * @throws IllegalStateException naming the result that differs, and by how much
   */
  static void check(
      String name, Map<String, float[]> found, Map<String, float[]> expected, DataType type) {
    if (!found.keySet().equals(expected.keySet())) {
      throw new IllegalStateException(
          name + " computes " + found.keySet() + ", rora " + expected.keySet());
    }
    double bound = type == DataType.F32 ? F32_BOUND : BF16_BOUND;
    expected.forEach(
        (result, values) -> {
          double difference = difference(found.get(result), values);
          if (!(difference <= bound)) {
            throw new IllegalStateException(
                String.format(
                    "%s and rora differ in %s by %.2g of its norm, more than %.2g: they do not do"
                        + " the same work",
                    name, result, difference, bound));
          }
        });
  }

  /** The norm of a - b over the norm of b. */
  static double difference(float[] a, float[] b) {
    if (a.length != b.length) {
      return Double.POSITIVE_INFINITY;
    }
    double difference = 0;
    double norm = 0;
    for (int i = 0; i < a.length; i++) {
      difference += ((double) a[i] - b[i]) * ((double) a[i] - b[i]);
      norm += (double) b[i] * b[i];
    }
    return Math.sqrt(difference / norm);
  }
}
