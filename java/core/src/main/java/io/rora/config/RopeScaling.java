package io.rora.config;

import java.util.List;

/**
 * How the frequencies of a rotary embedding are scaled for contexts longer than the one trained on.
 */
public sealed interface RopeScaling {
  /** The frequencies as they are. */
  record None() implements RopeScaling {}

  /**
   * Every frequency divided by {@code factor}.
   *
   * @param factor positive
   */
  record Linear(double factor) implements RopeScaling {
    /** Checks the factor. */
    public Linear {
      requirePositive("factor", factor);
    }
  }

  /**
   * LLaMA 3.1's: wavelengths above {@code originalContext / lowFrequencyFactor} are stretched by
   * {@code factor}, those below {@code originalContext / highFrequencyFactor} are left, those
   * between are interpolated.
   */
  record Llama3(
      double factor, double lowFrequencyFactor, double highFrequencyFactor, double originalContext)
      implements RopeScaling {
    /** Checks the parameters. */
    public Llama3 {
      requirePositive("factor", factor);
      requirePositive("low_freq_factor", lowFrequencyFactor);
      requirePositive("original_max_position_embeddings", originalContext);
      if (!(highFrequencyFactor > lowFrequencyFactor)) {
        throw new IllegalArgumentException(
            "high_freq_factor is "
                + highFrequencyFactor
                + ", it must exceed low_freq_factor, "
                + lowFrequencyFactor);
      }
    }
  }

  /**
   * Each frequency divided by its own number, as a GGUF file's {@code rope_freqs.weight} has them.
   *
   * @param values positive, one for each of the head's {@code head_dim / 2} frequencies
   */
  record Divisors(List<Float> values) implements RopeScaling {
    /** Copies and checks the divisors. */
    public Divisors {
      values = List.copyOf(values);
      values.forEach(value -> requirePositive("rope divisor", value));
    }
  }

  private static void requirePositive(String name, double value) {
    if (!(value > 0) || !Double.isFinite(value)) {
      throw new IllegalArgumentException(name + " is " + value + ", it must be positive");
    }
  }
}
