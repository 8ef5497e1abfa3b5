package io.rora.cli;

import java.util.Collection;
import java.util.Optional;

/** Finds the known word that somebody probably meant. */
final class Suggestions {
  private Suggestions() {}

  /** The known word closest to {@code word}, if one is close enough to be a slip of the hand. */
  static Optional<String> closest(String word, Collection<String> known) {
    String best = null;
    int bestDistance = Math.max(1, word.length() / 3) + 1;
    for (String candidate : known) {
      int distance = candidate.startsWith(word) ? 1 : distance(word, candidate);
      if (distance < bestDistance) {
        best = candidate;
        bestDistance = distance;
      }
    }
    return Optional.ofNullable(best);
  }

  /** "; did you mean X?" or nothing. */
  static String didYouMean(String word, Collection<String> known, String prefix) {
    return closest(word, known).map(hit -> ": did you mean " + prefix + hit + "?").orElse("");
  }

  /** Levenshtein's distance, where swapping two neighbours also counts as one. */
  static int distance(String a, String b) {
    int[][] cost = new int[a.length() + 1][b.length() + 1];
    for (int i = 0; i <= a.length(); i++) {
      for (int j = 0; j <= b.length(); j++) {
        cost[i][j] = i == 0 || j == 0 ? i + j : cheapest(cost, a, b, i, j);
      }
    }
    return cost[a.length()][b.length()];
  }

  private static int cheapest(int[][] cost, String a, String b, int i, int j) {
    int replace = cost[i - 1][j - 1] + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
    int best = Math.min(replace, Math.min(cost[i - 1][j], cost[i][j - 1]) + 1);
    boolean swapped =
        i > 1 && j > 1 && a.charAt(i - 1) == b.charAt(j - 2) && a.charAt(i - 2) == b.charAt(j - 1);
    return swapped ? Math.min(best, cost[i - 2][j - 2] + 1) : best;
  }
}
