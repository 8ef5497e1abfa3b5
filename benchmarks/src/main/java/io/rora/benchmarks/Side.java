package io.rora.benchmarks;

import java.util.Map;
import java.util.function.Supplier;

/** One implementation of an operator with operands of its own, ready to be called repeatedly. */
interface Side extends AutoCloseable {
  /** The work that is timed. */
  void run();

  /**
   * Runs the work once and returns what it computed, by name, row-major; of large results the front
   * alone. Sides of the same operator and operands return the same names and lengths.
   */
  Map<String, float[]> results();

  /** Puts back what calls use up, between iterations. */
  default void reset() {}

  @Override
  void close();

  /** A side made of functions. */
  static Side of(Runnable run, Supplier<Map<String, float[]>> results, Runnable close) {
    return new Side() {
      @Override
      public void run() {
        run.run();
      }

      @Override
      public Map<String, float[]> results() {
        return results.get();
      }

      @Override
      public void close() {
        close.run();
      }
    };
  }
}
