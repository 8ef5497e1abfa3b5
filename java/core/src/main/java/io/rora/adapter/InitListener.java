package io.rora.adapter;

/** Hears how far an adapter's initialisation has come; PiSSA's takes a while. */
@FunctionalInterface
public interface InitListener {
  /**
   * Called after each module.
   *
   * @param path the module
   * @param done modules done
   * @param total modules in all
   */
  void onModule(String path, int done, int total);

  /** Hears nothing. */
  static InitListener none() {
    return (path, done, total) -> {};
  }
}
