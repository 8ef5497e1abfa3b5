package io.rora.config;

/**
 * A rotary position embedding (arXiv:2104.09864).
 *
 * @param theta the base of the wavelengths, positive
 * @param scaling what is done to the frequencies
 */
public record RopeConfig(double theta, RopeScaling scaling) {
  /** Checks theta. */
  public RopeConfig {
    if (!(theta > 0) || !Double.isFinite(theta)) {
      throw new IllegalArgumentException("rope_theta is " + theta + ", it must be positive");
    }
  }

  /** Returns the plain embedding with this base. */
  public static RopeConfig of(double theta) {
    return new RopeConfig(theta, new RopeScaling.None());
  }

  /**
   * Returns the {@code head_dim / 2} inverse frequencies, scaling applied, in the float arithmetic
   * of transformers: the angle of frequency i at position p is {@code p * result[i]}.
   *
   * @param headDim even
   */
  public float[] inverseFrequencies(int headDim) {
    float[] result = new float[headDim / 2];
    for (int i = 0; i < result.length; i++) {
      float exponent = (float) (2 * i) / headDim;
      result[i] = 1f / (float) Math.pow((float) theta, exponent);
    }
    if (scaling instanceof RopeScaling.Linear linear) {
      for (int i = 0; i < result.length; i++) {
        result[i] /= (float) linear.factor();
      }
    } else if (scaling instanceof RopeScaling.Llama3 llama3) {
      for (int i = 0; i < result.length; i++) {
        result[i] = scale(result[i], llama3);
      }
    } else if (scaling instanceof RopeScaling.Divisors divisors) {
      divide(result, divisors);
    }
    return result;
  }

  /**
   * transformers' _compute_llama3_parameters; torch divides a number by a tensor as number *
   * reciprocal.
   */
  private static float scale(float frequency, RopeScaling.Llama3 rule) {
    float factor = (float) rule.factor();
    float wavelength = 1f / frequency * (float) (2 * Math.PI);
    if (wavelength > (float) (rule.originalContext() / rule.lowFrequencyFactor())) {
      return frequency / factor;
    }
    if (wavelength < (float) (rule.originalContext() / rule.highFrequencyFactor())) {
      return frequency;
    }
    float smooth =
        (1f / wavelength * (float) rule.originalContext() - (float) rule.lowFrequencyFactor())
            / (float) (rule.highFrequencyFactor() - rule.lowFrequencyFactor());
    return (1f - smooth) * frequency / factor + smooth * frequency;
  }

  private static void divide(float[] frequencies, RopeScaling.Divisors divisors) {
    if (divisors.values().size() != frequencies.length) {
      throw new IllegalArgumentException(
          divisors.values().size() + " rope divisors for " + frequencies.length + " frequencies");
    }
    for (int i = 0; i < frequencies.length; i++) {
      frequencies[i] /= divisors.values().get(i);
    }
  }
}
