package io.rora.model;

import io.rora.kernels.FloatArray;

/**
 * A norm's weight or a bias: the values that layers read and, while it is trained, its gradient.
 */
final class ModelVector {
  private final FloatArray loaded;
  private FloatArray values;
  private FloatArray gradient;

  ModelVector(FloatArray loaded) {
    this.loaded = loaded;
    this.values = loaded;
  }

  FloatArray values() {
    return values;
  }

  /** The gradient, or null if the vector is not trained. */
  FloatArray gradient() {
    return gradient;
  }

  /** Moves the values to {@code target}, which layers read from now on. */
  void train(FloatArray target, FloatArray newGradient) {
    copy(values, target);
    values = target;
    gradient = newGradient;
  }

  /** Moves the values back. */
  void freeze() {
    if (values != loaded) {
      copy(values, loaded);
    }
    values = loaded;
    gradient = null;
  }

  /** Frees the values that were loaded. */
  void close() {
    loaded.close();
  }

  private static void copy(FloatArray source, FloatArray target) {
    float[] host = new float[Math.toIntExact(source.length())];
    source.read(0, host, 0, host.length);
    target.write(0, host, 0, host.length);
  }
}
