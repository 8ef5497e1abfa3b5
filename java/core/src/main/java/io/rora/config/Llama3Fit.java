package io.rora.config;

import java.util.List;

/**
 * Finds the parameters of a llama3 scaling from its divisors, which is all that a GGUF file keeps
 * of them.
 *
 * <p>Between its two thresholds a divisor is {@code 1 / ((1 - s) / factor + s)} with {@code s =
 * (original / wavelength - low) / (high - low)}. Only two of the three numbers can be told from
 * that, so low = 1 is assumed, as in all released models, and high = 4 where that explains the
 * divisors.
 */
final class Llama3Fit {
  private static final double LOW = 1;
  private static final double HIGH = 4;
  private static final double TOLERANCE = 2e-6;
  private static final double STEEPER = 1.001;

  private final double[] wavelengths;
  private final double[] divisors;
  private final double factor;

  private Llama3Fit(double theta, int headDim, List<Float> values) {
    wavelengths = new double[values.size()];
    divisors = new double[values.size()];
    double largest = 1;
    for (int i = 0; i < divisors.length; i++) {
      wavelengths[i] = 2 * Math.PI * Math.pow(theta, 2.0 * i / headDim);
      divisors[i] = values.get(i);
      largest = Math.max(largest, divisors[i]);
    }
    factor = largest;
  }

  /**
   * Returns the scaling that has these divisors.
   *
   * @throws IllegalArgumentException if no llama3 scaling has
   */
  static RopeScaling fit(double theta, int headDim, RopeScaling.Divisors divisors) {
    if (divisors.values().stream().allMatch(value -> value == 1f)) {
      return new RopeScaling.None();
    }
    Llama3Fit fit = new Llama3Fit(theta, headDim, divisors.values());
    RopeScaling.Llama3 found = fit.usual();
    if (found == null) {
      found = fit.general();
    }
    if (found == null) {
      throw new IllegalArgumentException(
          "the rope divisors of this model (rope_freqs.weight) are not those of a llama3 scaling,"
              + " and config.json has no other way to say them: the model cannot be written as a"
              + " Hugging Face directory");
    }
    return found;
  }

  /**
   * Tries low 1 and high 4 with every original context that one divisor or a gap between two
   * suggests.
   */
  private RopeScaling.Llama3 usual() {
    for (int i = 0; i < divisors.length; i++) {
      double original =
          between(i)
              ? wavelengths[i] * (smooth(i) * (HIGH - LOW) + LOW)
              : wavelengths[i] * (divisors[i] == factor ? LOW * 0.999 : HIGH * 1.001);
      RopeScaling.Llama3 rounded =
          new RopeScaling.Llama3(factor, LOW, HIGH, Math.max(1, Math.rint(original)));
      if (explains(rounded)) {
        return rounded;
      }
    }
    return null;
  }

  /**
   * Lays the line s = slope / wavelength - low / (high - low) through the divisors between the
   * thresholds, or where there are fewer than two makes it so steep that those on both sides are
   * beyond the thresholds.
   */
  private RopeScaling.Llama3 general() {
    int first = 0;
    while (first < divisors.length - 1 && divisors[first] == 1) {
      first++;
    }
    int last = divisors.length - 1;
    while (last > first && !between(last)) {
      last--;
    }
    double slope;
    if (last > first) {
      slope = (smooth(first) - smooth(last)) / (1 / wavelengths[first] - 1 / wavelengths[last]);
    } else {
      double above = first == 0 ? Double.MAX_VALUE : 1 / wavelengths[first - 1];
      double below = first == divisors.length - 1 ? 0 : 1 / wavelengths[first + 1];
      slope =
          STEEPER
              * Math.max(
                  (1 - smooth(first)) / (above - 1 / wavelengths[first]),
                  smooth(first) / (1 / wavelengths[first] - below));
    }
    double offset = slope / wavelengths[first] - smooth(first); // low / (high - low)
    if (!(offset > 0) || !(slope > 0)) {
      return null;
    }
    RopeScaling.Llama3 found =
        new RopeScaling.Llama3(factor, LOW, LOW + LOW / offset, slope / offset);
    return explains(found) ? found : null;
  }

  private boolean between(int i) {
    return divisors[i] > 1 && divisors[i] < factor;
  }

  private double smooth(int i) {
    return (1 / divisors[i] - 1 / factor) / (1 - 1 / factor);
  }

  private boolean explains(RopeScaling.Llama3 rule) {
    for (int i = 0; i < divisors.length; i++) {
      double smooth =
          (rule.originalContext() / wavelengths[i] - rule.lowFrequencyFactor())
              / (rule.highFrequencyFactor() - rule.lowFrequencyFactor());
      double s = Math.min(1, Math.max(0, smooth));
      double expected = 1 / ((1 - s) / rule.factor() + s);
      if (Math.abs(expected - divisors[i]) > TOLERANCE * expected) {
        return false;
      }
    }
    return true;
  }
}
