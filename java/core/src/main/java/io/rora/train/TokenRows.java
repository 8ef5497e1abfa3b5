package io.rora.train;

import io.rora.data.Sequence;
import java.util.List;

/**
 * The token sequences of a data set in three plain arrays: tokenised once, read without objects.
 */
final class TokenRows {
  private final int[] tokens;
  private final int[] starts;
  private final int[] supervisedFrom;
  private final int longest;

  private TokenRows(int[] tokens, int[] starts, int[] supervisedFrom, int longest) {
    this.tokens = tokens;
    this.starts = starts;
    this.supervisedFrom = supervisedFrom;
    this.longest = longest;
  }

  static TokenRows of(List<Sequence> sequences) {
    long total = sequences.stream().mapToLong(Sequence::length).sum();
    if (total > Integer.MAX_VALUE - 8) {
      throw new TrainingException(
          "the data has " + total + " tokens, at most 2^31 - 9 can be used: train on fewer rows");
    }
    int[] tokens = new int[(int) total];
    int[] starts = new int[sequences.size() + 1];
    int[] supervisedFrom = new int[sequences.size()];
    int longest = 0;
    for (int row = 0; row < sequences.size(); row++) {
      Sequence sequence = sequences.get(row);
      System.arraycopy(sequence.ids(), 0, tokens, starts[row], sequence.length());
      starts[row + 1] = starts[row] + sequence.length();
      supervisedFrom[row] = sequence.supervisedFrom();
      longest = Math.max(longest, sequence.length());
    }
    return new TokenRows(tokens, starts, supervisedFrom, longest);
  }

  int rows() {
    return supervisedFrom.length;
  }

  int length(int row) {
    return starts[row + 1] - starts[row];
  }

  int id(int row, int index) {
    return tokens[starts[row] + index];
  }

  /** The longest sequence. */
  int longest() {
    return longest;
  }

  /** Whether the token is predicted in the loss; nothing predicts the first. */
  boolean supervised(int row, int index) {
    return index > 0 && index >= supervisedFrom[row];
  }

  int supervisedTokens(int row) {
    return length(row) - Math.min(length(row), Math.max(1, supervisedFrom[row]));
  }

  /** All tokens of all rows. */
  long tokens() {
    return tokens.length;
  }

  /** Bytes that the arrays take. */
  long bytes() {
    return 4L * (tokens.length + starts.length + (long) supervisedFrom.length);
  }
}
