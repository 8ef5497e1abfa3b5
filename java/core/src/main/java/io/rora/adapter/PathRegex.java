package io.rora.adapter;

import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Regular expressions from files, matched against whole module paths. An expression that would take
 * for ever, as nested repetitions can, is refused instead.
 */
final class PathRegex {
  // A path has some forty characters; an honest expression looks at each a few times.
  private static final int MOST_LOOKS = 100_000;

  private PathRegex() {}

  static boolean matches(String regex, String path) {
    return matcher(regex, path).matches();
  }

  /** A matcher whose search ends with an IllegalArgumentException when it takes too long. */
  static Matcher matcher(String regex, String path) {
    return Pattern.compile(regex).matcher(new CountedText(regex, path));
  }

  /** Counts how often the matcher looks at a character, which bounds its work. */
  private static final class CountedText implements CharSequence {
    private final String regex;
    private final String text;
    private int looks;

    CountedText(String regex, String text) {
      this.regex = regex;
      this.text = text;
    }

    @Override
    public char charAt(int index) {
      if (++looks > MOST_LOOKS) {
        throw new IllegalArgumentException(
            "the pattern " + regex + " takes too long to match: avoid nested repetitions");
      }
      return text.charAt(index);
    }

    @Override
    public int length() {
      return text.length();
    }

    @Override
    public CharSequence subSequence(int start, int end) {
      return text.subSequence(start, end);
    }

    @Override
    public String toString() {
      return text;
    }
  }
}
