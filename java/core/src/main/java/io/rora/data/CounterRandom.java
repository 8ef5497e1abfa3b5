package io.rora.data;

/**
 * Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as
 * 1, 2, 3" (SC'11): word {@code i} of stream {@code s} under seed {@code k} is a function of {@code
 * (k, s, i)} alone, the same on every machine, and any place of a stream is reached at once.
 *
 * <p>The key is the seed; the counter is {@code (i / 4, s)}, both as 64 bits, low word first; the
 * word is output {@code i % 4}. Not thread-safe: one per thread.
 */
public final class CounterRandom {
  private static final int ROUNDS = 10;
  private static final long MULTIPLIER_0 = 0xD2511F53L;
  private static final long MULTIPLIER_1 = 0xCD9E8D57L;
  private static final int WEYL_0 = 0x9E3779B9;
  private static final int WEYL_1 = 0xBB67AE85;
  private static final long LOW = 0xFFFFFFFFL;
  private static final double TWO_TO_MINUS_53 = 0x1p-53;

  private final long seed;
  private long stream;
  private final int[] block = new int[4];
  private long blockNumber = -1;
  private long position;

  /** Makes a generator that stands at word 0 of a stream. Streams of a seed are independent. */
  public CounterRandom(long seed, long stream) {
    this.seed = seed;
    this.stream = stream;
  }

  /** Goes to word 0 of another stream of the seed. */
  public void restart(long newStream) {
    stream = newStream;
    position = 0;
    blockNumber = -1;
  }

  /** Returns the number of the word that comes next: with seed and stream, the whole state. */
  public long position() {
    return position;
  }

  /** Goes to a word of the stream. */
  public void seek(long newPosition) {
    if (newPosition < 0) {
      throw new IllegalArgumentException("position is " + newPosition + ": must be at least 0");
    }
    position = newPosition;
  }

  /** Returns the next word: 32 random bits. */
  public int nextInt() {
    if (position >>> 2 != blockNumber) {
      blockNumber = position >>> 2;
      fill(
          seed, (int) blockNumber, (int) (blockNumber >>> 32), (int) stream, (int) (stream >>> 32));
    }
    return block[(int) (position++ & 3)];
  }

  /** Returns a multiple of 2^-53, uniform in [0, 1); takes two words. */
  public double uniform() {
    long high = nextInt() & LOW;
    long low = nextInt() & LOW;
    return ((high << 21) | (low >>> 11)) * TWO_TO_MINUS_53;
  }

  /**
   * Returns a whole number, uniform in [0, bound), without bias: words that would give one are
   * skipped.
   */
  public int below(int bound) {
    if (bound < 1) {
      throw new IllegalArgumentException("bound is " + bound + ": must be at least 1");
    }
    // Lemire, "Fast random integer generation in an interval" (2019): the high word of word *
    // bound.
    long product = (nextInt() & LOW) * bound;
    if ((product & LOW) < bound) {
      long threshold = (1L << 32) % bound;
      while ((product & LOW) < threshold) {
        product = (nextInt() & LOW) * bound;
      }
    }
    return (int) (product >>> 32);
  }

  /**
   * Returns a draw from the normal distribution N(0, 1), by Box and Muller's transform; takes four
   * words.
   */
  public double gaussian() {
    double radius = StrictMath.sqrt(-2 * StrictMath.log(1 - uniform()));
    return radius * StrictMath.cos(2 * Math.PI * uniform());
  }

  private void fill(long key, int counter0, int counter1, int counter2, int counter3) {
    int k0 = (int) key;
    int k1 = (int) (key >>> 32);
    int c0 = counter0;
    int c1 = counter1;
    int c2 = counter2;
    int c3 = counter3;
    for (int round = 0; round < ROUNDS; round++) {
      long p0 = MULTIPLIER_0 * (c0 & LOW);
      long p1 = MULTIPLIER_1 * (c2 & LOW);
      c0 = (int) (p1 >>> 32) ^ c1 ^ k0;
      c2 = (int) (p0 >>> 32) ^ c3 ^ k1;
      c1 = (int) p1;
      c3 = (int) p0;
      k0 += WEYL_0;
      k1 += WEYL_1;
    }
    block[0] = c0;
    block[1] = c1;
    block[2] = c2;
    block[3] = c3;
  }
}
