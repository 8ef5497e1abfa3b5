package io.rora.data;

/**
 * The endless order in which training uses its rows: permutations of all rows, one an epoch, laid
 * end to end. A place in it is one number, which a checkpoint keeps.
 *
 * <p>The permutation of epoch {@code e} is Fisher and Yates' shuffle of 0, 1, ..., n - 1: for
 * {@code i} from n - 1 down to 1, swap element {@code i} with element {@link CounterRandom#below
 * below(i + 1)}, drawn from the stream {@code e} of {@link CounterRandom} under the seed. Without
 * shuffling every epoch is the file's order.
 *
 * <p>Not thread-safe: it keeps the permutation of the epoch that was asked for last.
 */
public final class RowOrder {
  private final int rows;
  private final CounterRandom random;
  private final boolean shuffle;
  private final int[] permutation;
  private long epoch = -1;

  /**
   * Makes the order of a data set.
   *
   * @param rows number of rows, at least 1
   * @param seed chooses the permutations; without {@code shuffle} it does nothing
   */
  public RowOrder(int rows, long seed, boolean shuffle) {
    if (rows < 1) {
      throw new IllegalArgumentException("there are " + rows + " rows: must be at least 1");
    }
    this.rows = rows;
    this.random = new CounterRandom(seed, 0);
    this.shuffle = shuffle;
    this.permutation = shuffle ? new int[rows] : new int[0];
  }

  /**
   * Returns the row, from 0, at a position of the endless order, from 0. Allocates nothing within
   * an epoch; going to another one costs a shuffle.
   */
  public int row(long position) {
    if (position < 0) {
      throw new IllegalArgumentException("position is " + position + ": must be at least 0");
    }
    int place = (int) (position % rows);
    if (!shuffle) {
      return place;
    }
    if (position / rows != epoch) {
      shuffle(position / rows);
    }
    return permutation[place];
  }

  /** Returns the number of rows. */
  public int rows() {
    return rows;
  }

  private void shuffle(long newEpoch) {
    random.restart(newEpoch);
    for (int i = 0; i < rows; i++) {
      permutation[i] = i;
    }
    for (int i = rows - 1; i > 0; i--) {
      int j = random.below(i + 1);
      int other = permutation[j];
      permutation[j] = permutation[i];
      permutation[i] = other;
    }
    epoch = newEpoch;
  }
}
