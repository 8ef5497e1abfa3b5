package io.rora.model;

import java.util.List;

/**
 * Alternative continuations of one prompt, as whole sequences.
 *
 * @param candidates the prompt with each continuation; not to be written to
 * @param promptTokens tokens of the prompt: those from there on are scored
 */
public record Continuations(List<int[]> candidates, int promptTokens) {
  /** Copies the list and checks it. */
  public Continuations {
    candidates = List.copyOf(candidates);
    for (int[] ids : candidates) {
      if (ids.length == 0) {
        throw new IllegalArgumentException("a candidate without tokens");
      }
    }
  }

  /** Tokens that all candidates begin with and that predict nothing: computed once for all. */
  int shared() {
    int[] first = candidates.get(0);
    int shared = Math.max(0, Math.min(promptTokens - 1, first.length - 1));
    for (int[] ids : candidates) {
      int same = 0;
      while (same < Math.min(shared, ids.length - 1) && ids[same] == first[same]) {
        same++;
      }
      shared = same;
    }
    return shared;
  }

  /** Tokens that are computed for each candidate. */
  int ownTokens() {
    return tokens() - candidates.size() * shared();
  }

  /** Tokens of all candidates together. */
  int tokens() {
    return candidates.stream().mapToInt(ids -> ids.length).sum();
  }
}
