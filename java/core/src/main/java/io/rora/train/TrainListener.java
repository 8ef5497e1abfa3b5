package io.rora.train;

import java.nio.file.Path;

/** Hears of a run's progress, on its thread, and may stop it. */
public interface TrainListener {
  /** Something that takes a while begins, such as reading the model. */
  default void onPhase(String what) {}

  /** The first step comes next. */
  default void onStart(TrainStart start) {}

  /** A step is done. */
  default void onStep(StepMetrics step) {}

  /**
   * An evaluation is done.
   *
   * @param best whether it is the lowest so far, so that {@code best/} was written
   */
  default void onEvaluation(int step, double loss, boolean best) {}

  /** A checkpoint stands on disk. */
  default void onCheckpoint(int step, Path directory) {}

  /** Something that the user should know, in one line. */
  default void onWarning(String message) {}

  /** Asked after every step: true stops the run, with a checkpoint from which it can be resumed. */
  default boolean isCancelled() {
    return false;
  }

  /** Hears nothing. */
  static TrainListener none() {
    return new TrainListener() {};
  }
}
