package io.rora.benchmarks;

import io.rora.kernels.FloatMatrix;
import io.rora.kernels.Linear;
import io.rora.kernels.RoraContext;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.FloatPointer;

/**
 * {@link Linear}: the same kernels behind a conversion from row-major floats and back, for trainers
 * that keep such matrices. Its distance from {@link RoraLinear} is what that boundary costs.
 */
final class RowMajorLinear implements Side {
  private final LinearOperands operands;
  private final boolean backward;
  private final RoraContext context = RoraContext.open("cpu", Peers.threads());
  private final Linear linear;
  private final FloatMatrix x;
  private final FloatMatrix h;
  private final FloatMatrix y;
  private final FloatMatrix dy;
  private final FloatMatrix dx;
  private final FloatMatrix aGradient;
  private final FloatMatrix bGradient;

  RowMajorLinear(LinearOperands operands, boolean backward) {
    if (operands.rank == 0) {
      throw new IllegalArgumentException(
          "impl=" + Peers.ROW_MAJOR + ", rank=0: the row-major functions need a rank of 1 or more");
    }
    this.operands = operands;
    this.backward = backward;
    linear =
        new Linear(
            RoraLinear.weight(context, operands.type, operands.out, operands.in, operands.w),
            matrix(operands.rank, operands.in, operands.a),
            matrix(operands.out, operands.rank, operands.b),
            operands.gamma);
    x = matrix(operands.tokens, operands.in, operands.x);
    h = context.matrix(operands.tokens, operands.rank);
    y = context.matrix(operands.tokens, operands.out);
    dy = matrix(operands.tokens, operands.out, operands.dy);
    dx = context.matrix(operands.tokens, operands.in);
    aGradient = context.matrix(operands.rank, operands.in);
    bGradient = context.matrix(operands.out, operands.rank);
    linear.forward(x, h, y); // the backward pass reads h
  }

  private FloatMatrix matrix(int rows, int columns, FloatPointer values) {
    FloatMatrix matrix = context.matrix(rows, columns);
    matrix.write(RoraLinear.toArray(values, (long) rows * columns));
    return matrix;
  }

  @Override
  public void run() {
    if (backward) {
      linear.backward(x, h, dy, aGradient, bGradient, dx);
    } else {
      linear.forward(x, h, y);
    }
  }

  @Override
  public Map<String, float[]> results() {
    run();
    Map<String, float[]> results = new LinkedHashMap<>();
    if (!backward) {
      results.put("y", rows(y, operands.comparedRows()));
      return results;
    }
    results.put("dx", rows(dx, operands.comparedRows()));
    results.put("dA", rows(aGradient, operands.rank));
    results.put("dB", rows(bGradient, operands.out));
    return results;
  }

  private static float[] rows(FloatMatrix matrix, int rows) {
    float[] values = new float[Math.toIntExact(rows * matrix.columns())];
    matrix.memory().read(0, values, 0, values.length);
    return values;
  }

  @Override
  public void close() {
    context.close();
  }
}
