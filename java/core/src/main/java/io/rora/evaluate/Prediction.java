package io.rora.evaluate;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;

/**
 * What a model says to one multiple choice question.
 *
 * @param answer the right label
 * @param prediction the model's; empty if its text has none
 * @param scores the score of each label, in the order of the labels; empty where text was generated
 * @param text the text generated; empty where labels were scored
 */
public record Prediction(
    String answer, Optional<String> prediction, Map<String, Double> scores, String text) {
  /** Copies the scores in their order. */
  public Prediction {
    scores = Collections.unmodifiableMap(new LinkedHashMap<>(scores));
  }

  /** Whether the model is right. */
  public boolean correct() {
    return prediction.isPresent() && prediction.get().equals(answer);
  }
}
