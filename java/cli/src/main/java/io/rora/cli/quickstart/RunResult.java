package io.rora.cli.quickstart;

import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * What one fine-tuning run of the quickstart came to.
 *
 * @param method {@code lora} or {@code rora}
 * @param rank of every adapter
 * @param alpha the same in all runs
 * @param gamma the scaling of the adapters' output that method, rank and alpha give
 * @param before held-out accuracy of the base, 0 to 1
 * @param after held-out accuracy with the adapter, 0 to 1
 * @param losses of each step
 * @param gradientNorms of each step, before clipping
 * @param seconds of the training steps
 */
record RunResult(
    String method,
    int rank,
    double alpha,
    double gamma,
    double before,
    double after,
    List<Double> losses,
    List<Double> gradientNorms,
    double seconds) {
  RunResult {
    losses = List.copyOf(losses);
    gradientNorms = List.copyOf(gradientNorms);
  }

  /** The run's name and its folder's: {@code rora-r16}. */
  String name() {
    return method + "-r" + rank;
  }

  double firstLoss() {
    return losses.get(0);
  }

  double lastLoss() {
    return losses.get(losses.size() - 1);
  }

  double firstGradientNorm() {
    return gradientNorms.get(0);
  }

  double meanGradientNorm() {
    return gradientNorms.stream().mapToDouble(Double::doubleValue).average().orElse(Double.NaN);
  }

  /** The table's columns. */
  static final List<String> COLUMNS =
      List.of(
          "method",
          "rank",
          "alpha",
          "gamma",
          "accuracy before",
          "after",
          "loss first",
          "last",
          "grad norm first",
          "mean",
          "seconds");

  /** This run's cells under {@link #COLUMNS}. */
  List<String> cells() {
    return Arrays.asList(
        method,
        Integer.toString(rank),
        number("%.0f", alpha),
        number("%.2f", gamma),
        number("%.1f %%", 100 * before),
        number("%.1f %%", 100 * after),
        number("%.3f", firstLoss()),
        number("%.3f", lastLoss()),
        number("%.2f", firstGradientNorm()),
        number("%.2f", meanGradientNorm()),
        number("%.1f", seconds));
  }

  private static String number(String format, double value) {
    return String.format(Locale.ROOT, format, value);
  }
}
