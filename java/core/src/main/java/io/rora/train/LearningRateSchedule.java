package io.rora.train;

/**
 * The learning rate of every step t, from 0: lr (t + 1) / w in the w warm-up steps; then lr, lr (1
 * - u) or lr (1 + cos(pi u)) / 2 with u = (t - w) / max(1, T - w).
 *
 * @param peak lr
 * @param schedule what follows the warm-up
 * @param warmupSteps w
 * @param steps T
 */
public record LearningRateSchedule(double peak, Schedule schedule, int warmupSteps, int steps) {
  /** The rate of step t, counted from 0. */
  public double at(int t) {
    if (t < warmupSteps) {
      return peak * (t + 1) / warmupSteps;
    }
    double u = (t - warmupSteps) / (double) Math.max(1, steps - warmupSteps);
    return switch (schedule) {
      case CONSTANT -> peak;
      case LINEAR -> peak * (1 - u);
      case COSINE -> peak * 0.5 * (1 + Math.cos(Math.PI * u));
    };
  }
}
