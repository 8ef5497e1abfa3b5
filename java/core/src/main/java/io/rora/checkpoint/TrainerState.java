package io.rora.checkpoint;

import io.rora.config.JsonText;
import io.rora.config.StrictJson;
import java.io.IOException;
import java.nio.file.Path;
import java.util.OptionalDouble;
import java.util.TreeMap;

/**
 * Where a run stands after a step. Together with the options it is everything: the learning rate is
 * a function of the step, shuffling one of seed and position, dropout one of seed, step and token.
 *
 * @param step steps done
 * @param seed of shuffling, initialisation and dropout
 * @param position rows used so far, in the endless order of rows
 * @param learningRate of the next step, for people to read
 * @param bestLoss lowest evaluation loss; empty before the first evaluation
 */
public record TrainerState(
    int step, long seed, long position, double learningRate, OptionalDouble bestLoss) {
  /** The file's name in a checkpoint. */
  public static final String FILE = "trainer_state.json";

  /** Reads a checkpoint's. */
  public static TrainerState read(Path checkpoint) throws IOException {
    StrictJson json = StrictJson.read(checkpoint.resolve(FILE));
    return new TrainerState(
        json.integer("step", 0, Integer.MAX_VALUE),
        json.longInteger("seed", Long.MIN_VALUE, Long.MAX_VALUE),
        json.longInteger("position", 0, Long.MAX_VALUE),
        json.number("learning_rate"),
        json.has("best_eval_loss")
            ? OptionalDouble.of(json.number("best_eval_loss"))
            : OptionalDouble.empty());
  }

  /** The file's text. */
  public String toJson() {
    TreeMap<String, Object> json = new TreeMap<>();
    json.put("step", step);
    json.put("seed", seed);
    json.put("position", position);
    json.put("learning_rate", learningRate);
    json.put("best_eval_loss", bestLoss.isPresent() ? bestLoss.getAsDouble() : null);
    return JsonText.pretty(json);
  }
}
