package io.rora.cli.quickstart;

import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A multiple-choice question about the toy world.
 *
 * @param text the question
 * @param options the texts to choose from
 * @param right the index of the right one
 */
record Question(String text, List<String> options, int right) {
  Question {
    options = List.copyOf(options);
  }

  /** The row as LLM-Adapters writes its commonsense tasks. */
  Map<String, String> row() {
    StringBuilder instruction =
        new StringBuilder("Please choose the correct answer to the question: " + text + "\n\n");
    StringBuilder format = new StringBuilder("Answer format: ");
    for (int i = 0; i < options.size(); i++) {
      String gap = i == 0 ? "" : " ";
      instruction.append(gap).append("Answer").append(i + 1).append(": ").append(options.get(i));
      format.append(i == 0 ? "" : "/").append("answer").append(i + 1);
    }
    Map<String, String> row = new LinkedHashMap<>();
    row.put("instruction", instruction.append("\n\n").append(format).toString());
    row.put("input", "");
    row.put("output", "the correct answer is answer" + (right + 1));
    row.put("answer", "answer" + (right + 1));
    return row;
  }
}
