package io.rora.kernels;

import java.util.Arrays;
import java.util.Random;

/**
 * Plain double-precision loops on row-major matrices, and comparisons that say where they differ.
 */
final class Matrices {
  /** Half a unit in the last place of a float. */
  static final double EPSILON = 0x1p-24;

  private Matrices() {}

  /** Uniform values in [-1, 1). */
  static float[] random(Random random, long count) {
    float[] values = new float[Math.toIntExact(count)];
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextFloat() * 2 - 1;
    }
    return values;
  }

  /** Integers from -limit to limit, with which sums of products are exact in float. */
  static float[] integers(Random random, long count, int limit) {
    float[] values = new float[Math.toIntExact(count)];
    for (int i = 0; i < values.length; i++) {
      values[i] = random.nextInt(2 * limit + 1) - limit;
    }
    return values;
  }

  static float[] integersTimes(float[] values, float factor) {
    float[] products = new float[values.length];
    for (int i = 0; i < values.length; i++) {
      products[i] = values[i] * factor;
    }
    return products;
  }

  static double[] widen(float[] values) {
    double[] wide = new double[values.length];
    for (int i = 0; i < wide.length; i++) {
      wide[i] = values[i];
    }
    return wide;
  }

  static double[] magnitudes(double[] values) {
    double[] positive = new double[values.length];
    for (int i = 0; i < values.length; i++) {
      positive[i] = Math.abs(values[i]);
    }
    return positive;
  }

  /** {@code [rows, inner] [inner, columns]}. */
  static double[] multiply(double[] a, double[] b, int rows, int inner, int columns) {
    double[] product = new double[rows * columns];
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        double sum = 0;
        for (int k = 0; k < inner; k++) {
          sum += a[i * inner + k] * b[k * columns + j];
        }
        product[i * columns + j] = sum;
      }
    }
    return product;
  }

  static double[] transpose(double[] a, int rows, int columns) {
    double[] transposed = new double[a.length];
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        transposed[j * rows + i] = a[i * columns + j];
      }
    }
    return transposed;
  }

  static double[] scale(double[] values, double factor) {
    double[] scaled = new double[values.length];
    for (int i = 0; i < values.length; i++) {
      scaled[i] = values[i] * factor;
    }
    return scaled;
  }

  static double[] add(double[] a, double[] b) {
    double[] sum = new double[a.length];
    for (int i = 0; i < a.length; i++) {
      sum[i] = a[i] + b[i];
    }
    return sum;
  }

  /** Fails with the index, both values and the bound where the two differ by more than it. */
  static void assertWithin(String what, float[] found, double[] expected, double[] bound) {
    if (found.length != expected.length) {
      throw new AssertionError(what + ": " + found.length + " values, not " + expected.length);
    }
    for (int i = 0; i < found.length; i++) {
      // Written so that NaN fails.
      if (!(Math.abs(found[i] - expected[i]) <= bound[i])) {
        throw new AssertionError(
            what + "[" + i + "]: " + found[i] + ", expected " + expected[i] + " +- " + bound[i]);
      }
    }
  }

  /** As {@link #assertWithin(String, float[], double[], double[])} with one bound. */
  static void assertWithin(String what, float[] found, double[] expected, double bound) {
    double[] bounds = new double[expected.length];
    Arrays.fill(bounds, bound);
    assertWithin(what, found, expected, bounds);
  }
}
