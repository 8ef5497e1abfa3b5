package io.rora.evaluate;

import java.util.List;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Finds the answer in generated text. */
final class LabelFinder {
  private LabelFinder() {}

  /** The label that stands first in the text, as a whole word, in any case. */
  static Optional<String> find(String text, List<String> labels) {
    int first = Integer.MAX_VALUE;
    String found = null;
    for (String label : labels) {
      Matcher matcher = wholeWord(label).matcher(text);
      if (matcher.find() && matcher.start() < first) {
        first = matcher.start();
        found = label;
      }
    }
    return Optional.ofNullable(found);
  }

  private static Pattern wholeWord(String label) {
    return Pattern.compile(
        "(?<![\\p{L}\\p{N}_])" + Pattern.quote(label) + "(?![\\p{L}\\p{N}_])",
        Pattern.CASE_INSENSITIVE | Pattern.UNICODE_CASE);
  }
}
