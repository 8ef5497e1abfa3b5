package io.rora.benchmarks;

import io.rora.kernels.RoraContext;
import java.util.SplittableRandom;
import org.bytedeco.javacpp.FloatPointer;

/**
 * Operands of any size, repeatable: one block of random numbers in [-1, 1), read over and over from
 * another place for each operand, since drawing hundreds of millions would take longer than what is
 * measured. No row is a multiple of the block, so no two rows are alike.
 */
final class Numbers {
  private static final int BLOCK = 1_000_003; // a prime
  private static final long SEED = 2501_04315;
  private static final int STEP = 123_457;

  private final float[] block = new float[BLOCK];

  Numbers() {
    RoraContext.version(); // loads the library, and with it what allocates pointers
    SplittableRandom random = new SplittableRandom(SEED);
    for (int i = 0; i < BLOCK; i++) {
      block[i] = (float) (random.nextDouble() * 2 - 1);
    }
  }

  /**
   * Allocates and fills native memory, which the caller frees.
   *
   * @param operand its number: another one starts at another place
   * @param scale the largest absolute value
   */
  FloatPointer allocate(long count, int operand, double scale) {
    FloatPointer target = new FloatPointer(count);
    float[] scaled = scaled(scale);
    int from = start(operand);
    for (long done = 0; done < count; from = 0) {
      int part = (int) Math.min(count - done, BLOCK - from);
      target.position(done).put(scaled, from, part);
      done += part;
    }
    return target.position(0);
  }

  /** The same numbers in an array. */
  float[] array(int count, int operand, double scale) {
    float[] values = new float[count];
    int at = start(operand);
    for (int i = 0; i < count; i++) {
      values[i] = (float) (block[at] * scale);
      at = at + 1 == BLOCK ? 0 : at + 1;
    }
    return values;
  }

  private static int start(int operand) {
    return (int) ((long) operand * STEP % BLOCK);
  }

  private float[] scaled(double scale) {
    float[] values = new float[BLOCK];
    for (int i = 0; i < BLOCK; i++) {
      values[i] = (float) (block[i] * scale);
    }
    return values;
  }
}
