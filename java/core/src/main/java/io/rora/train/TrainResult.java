package io.rora.train;

import java.nio.file.Path;
import java.util.OptionalDouble;

/**
 * How a run ended.
 *
 * @param status finished or cancelled
 * @param step the last step done
 * @param steps the steps of the whole run
 * @param loss of the last step of this process; empty if it did none
 * @param bestLoss lowest evaluation loss; empty without evaluation data
 * @param out the run's directory, which holds the adapter
 */
public record TrainResult(
    Status status, int step, int steps, OptionalDouble loss, OptionalDouble bestLoss, Path out) {
  /** Whether all steps are done. */
  public enum Status {
    /** All steps are done and the adapter is written. */
    FINISHED,
    /** The listener stopped it; resume it to go on. */
    CANCELLED
  }
}
