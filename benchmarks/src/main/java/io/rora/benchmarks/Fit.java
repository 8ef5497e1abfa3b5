package io.rora.benchmarks;

import java.util.List;
import org.apache.commons.math3.stat.regression.SimpleRegression;

/**
 * {@code seconds = factor size^exponent}, by least squares of the logarithms.
 *
 * @param rSquare the share of the variance that it explains
 */
record Fit(double exponent, double factor, double rSquare) {
  /** A size and its time. */
  record Point(double size, double seconds) {}

  /**
   * Fits.
   *
   * @param points of at least two sizes
   */
  static Fit of(List<Point> points) {
    SimpleRegression regression = new SimpleRegression();
    points.forEach(p -> regression.addData(Math.log(p.size()), Math.log(p.seconds())));
    double exponent = regression.getSlope();
    if (!Double.isFinite(exponent)) {
      throw new IllegalArgumentException("a fit needs points of at least two sizes: " + points);
    }
    return new Fit(exponent, Math.exp(regression.getIntercept()), regression.getRSquare());
  }

  /** The seconds that it predicts. */
  double at(double size) {
    return factor * Math.pow(size, exponent);
  }
}
