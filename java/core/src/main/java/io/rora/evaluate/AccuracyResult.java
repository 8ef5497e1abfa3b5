package io.rora.evaluate;

import java.util.List;

/**
 * How many questions a model answers rightly.
 *
 * @param task {@code choice}, {@code cloze} or {@code generate}
 * @param predictions one for each row, in their order
 */
public record AccuracyResult(String task, List<Prediction> predictions) {
  /** Copies the list. */
  public AccuracyResult {
    predictions = List.copyOf(predictions);
  }

  /** The number of rows. */
  public int n() {
    return predictions.size();
  }

  /** The share of right predictions; 0 of no rows. */
  public double accuracy() {
    long correct = predictions.stream().filter(Prediction::correct).count();
    return predictions.isEmpty() ? 0 : (double) correct / predictions.size();
  }

  /** Rows whose generated text has none of the labels. They count as wrong. */
  public int unparsable() {
    return (int) predictions.stream().filter(p -> p.prediction().isEmpty()).count();
  }
}
