package io.rora.benchmarks;

import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import io.rora.kernels.RowLinear;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.FloatPointer;

/**
 * {@link RowLinear} on row-major floats of somebody else's, by address: the same kernels behind a
 * conversion there and back. Its distance from {@link RoraLinear} is what that boundary costs.
 */
final class RowMajorLinear implements Side {
  private final LinearOperands operands;
  private final boolean backward;
  private final RoraContext context = RoraContext.open("cpu", Peers.threads());
  private final RowLinear linear;
  private final FloatPointer h;
  private final FloatPointer y;
  private final FloatPointer dx;
  private final FloatPointer aGradient;
  private final FloatPointer bGradient;

  RowMajorLinear(LinearOperands operands, boolean backward) {
    this.operands = operands;
    this.backward = backward;
    int rank = operands.rank;
    h = zeros((long) operands.tokens * rank);
    y = zeros((long) operands.tokens * operands.out);
    dx = zeros((long) operands.tokens * operands.in);
    aGradient = zeros((long) rank * operands.in);
    bGradient = zeros((long) operands.out * rank);
    linear =
        context.rowLinear(
            RoraLinear.weight(context, operands.type, operands.out, operands.in, operands.w),
            rank,
            DataType.F32,
            operands.type);
    if (rank > 0) {
      linear.adapter(operands.gamma, operands.a.address(), operands.in, operands.b.address(), rank);
      linear.gradients(aGradient.address(), operands.in, bGradient.address(), rank);
    }
    forward(); // the backward pass reads h
  }

  private static FloatPointer zeros(long count) {
    return new FloatPointer(Math.max(1, count)).zero().limit(count);
  }

  private void forward() {
    linear.forward(
        operands.tokens,
        operands.x.address(),
        operands.in,
        h.address(),
        operands.rank,
        y.address(),
        operands.out);
  }

  private void backward() {
    linear.backward(
        operands.tokens,
        operands.x.address(),
        operands.in,
        h.address(),
        operands.rank,
        operands.dy.address(),
        operands.out,
        false,
        dx.address(),
        operands.in,
        false);
  }

  @Override
  public void run() {
    if (backward) {
      backward();
    } else {
      forward();
    }
  }

  @Override
  public Map<String, float[]> results() {
    run();
    Map<String, float[]> results = new LinkedHashMap<>();
    int rows = operands.comparedRows();
    if (!backward) {
      results.put("y", RoraLinear.toArray(y, (long) rows * operands.out));
      return results;
    }
    results.put("dx", RoraLinear.toArray(dx, (long) rows * operands.in));
    if (operands.rank > 0) {
      results.put("dA", RoraLinear.toArray(aGradient, aGradient.limit()));
      results.put("dB", RoraLinear.toArray(bGradient, bGradient.limit()));
    }
    return results;
  }

  @Override
  public void close() {
    context.close();
    for (FloatPointer pointer : new FloatPointer[] {h, y, dx, aGradient, bGradient}) {
      pointer.deallocate();
    }
  }
}
