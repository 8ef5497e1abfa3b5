package io.rora.model;

/** Hears how far the loading of a model has come. */
@FunctionalInterface
public interface LoadListener {
  /**
   * Called after each block of rows.
   *
   * @param tensor the tensor being read
   * @param elements elements read so far, of all tensors
   * @param total elements of all tensors
   */
  void onProgress(String tensor, long elements, long total);

  /** Hears nothing. */
  static LoadListener none() {
    return (tensor, elements, total) -> {};
  }
}
