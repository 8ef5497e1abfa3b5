package io.rora.benchmarks;

import io.rora.kernels.DataType;
import io.rora.kernels.ScalingRule;
import org.bytedeco.javacpp.FloatPointer;

/**
 * What the sides of a linear layer start from, row-major floats: {@code W [out, in]}, {@code A
 * [rank, in]}, {@code B [out, rank]}, {@code x [tokens, in]}, {@code dy [tokens, out]}. Rank 0 is a
 * layer without adapter.
 */
final class LinearOperands implements AutoCloseable {
  /** So many rows of large results are compared. */
  static final int COMPARED_ROWS = 64;

  private static final double ALPHA = 16;

  final int out;
  final int in;
  final int tokens;
  final int rank;
  final DataType type;
  final double gamma;
  final FloatPointer w;
  final FloatPointer a;
  final FloatPointer b;
  final FloatPointer x;
  final FloatPointer dy;

  /**
   * Makes them.
   *
   * @param shape {@code OUTxIN}
   */
  LinearOperands(Numbers numbers, String shape, int tokens, int rank, DataType type) {
    if (!shape.matches("[1-9]\\d{0,6}x[1-9]\\d{0,6}") || tokens < 1 || rank < 0) {
      throw new IllegalArgumentException(
          ("shape=" + shape + ", tokens=" + tokens + ", rank=" + rank + ": ")
              + "shape must be OUTxIN, as in 1536x576, tokens at least 1 and rank at least 0");
    }
    String[] sizes = shape.split("x", -1);
    this.out = Integer.parseInt(sizes[0]);
    this.in = Integer.parseInt(sizes[1]);
    this.tokens = tokens;
    this.rank = rank;
    this.type = type;
    gamma = rank == 0 ? 0 : ScalingRule.RORA.gamma(ALPHA, rank);
    w = numbers.allocate((long) out * in, 1, 1 / Math.sqrt(in));
    a = numbers.allocate((long) rank * in, 2, 1 / Math.sqrt(in));
    b = numbers.allocate((long) out * rank, 3, 1 / Math.sqrt(out));
    x = numbers.allocate((long) tokens * in, 4, 1);
    dy = numbers.allocate((long) tokens * out, 5, 1);
  }

  /** Rows of activations that are compared. */
  int comparedRows() {
    return Math.min(tokens, COMPARED_ROWS);
  }

  @Override
  public void close() {
    for (FloatPointer pointer : new FloatPointer[] {w, a, b, x, dy}) {
      pointer.deallocate();
    }
  }
}
