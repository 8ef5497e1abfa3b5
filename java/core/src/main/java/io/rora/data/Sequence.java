package io.rora.data;

/** A row as token ids, cut to length, with the place from which on its tokens are learned. */
public final class Sequence {
  private final int[] ids;
  private final int supervisedFrom;

  /**
   * Makes a sequence; {@code ids} becomes its own.
   *
   * @param supervisedFrom index of the first token that is a label, {@code ids.length} for none
   */
  public Sequence(int[] ids, int supervisedFrom) {
    if (supervisedFrom < 0 || supervisedFrom > ids.length) {
      throw new IllegalArgumentException(
          "supervisedFrom is " + supervisedFrom + ": must be within 0 and " + ids.length);
    }
    this.ids = ids;
    this.supervisedFrom = supervisedFrom;
  }

  /** Returns the number of tokens. */
  public int length() {
    return ids.length;
  }

  /** Returns a token's id. */
  public int id(int index) {
    return ids[index];
  }

  /** Returns all ids: the sequence's own array, not to be written to. */
  public int[] ids() {
    return ids;
  }

  /** Returns the index of the first token that is a label, {@link #length()} for none. */
  public int supervisedFrom() {
    return supervisedFrom;
  }

  /**
   * Returns whether the token is predicted in the loss. The first never is: nothing stands before
   * it.
   */
  public boolean supervised(int index) {
    return index > 0 && index >= supervisedFrom;
  }

  /** Returns the number of tokens that count in the loss, that is, of labels after the shift. */
  public int supervisedTokens() {
    return ids.length - Math.min(ids.length, Math.max(1, supervisedFrom));
  }
}
