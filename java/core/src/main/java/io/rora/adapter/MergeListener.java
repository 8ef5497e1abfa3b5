package io.rora.adapter;

/** Hears how far a merge has come. */
@FunctionalInterface
public interface MergeListener {
  /**
   * Called when a tensor begins to be written.
   *
   * @param name the tensor
   * @param done tensors written
   * @param total tensors in all
   */
  void onTensor(String name, int done, int total);

  /** Hears nothing. */
  static MergeListener none() {
    return (name, done, total) -> {};
  }
}
