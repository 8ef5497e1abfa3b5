package io.rora.evaluate;

/** Hears how far an evaluation has come. */
@FunctionalInterface
public interface EvaluationListener {
  /** Called after rows were scored: how many so far, of how many. */
  void onRows(int done, int total);

  /** Hears nothing. */
  static EvaluationListener none() {
    return (done, total) -> {};
  }
}
