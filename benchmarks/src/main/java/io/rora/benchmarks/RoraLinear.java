package io.rora.benchmarks;

import io.rora.kernels.Activation;
import io.rora.kernels.DataType;
import io.rora.kernels.FloatArray;
import io.rora.kernels.LinearGroup;
import io.rora.kernels.RoraContext;
import io.rora.kernels.Weight;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.FloatPointer;

/** A linear group of one projection, as a model's layer calls it. Gradients of A and B add up. */
final class RoraLinear implements Side {
  private final LinearOperands operands;
  private final boolean backward;
  private final RoraContext context = RoraContext.open("cpu", Peers.threads());
  private final LinearGroup linear = context.linear(1);
  private final Activation x;
  private final Activation y;
  private final Activation dy;
  private final Activation dx;
  private final FloatArray aGradient;
  private final FloatArray bGradient;

  RoraLinear(LinearOperands operands, boolean backward) {
    this.operands = operands;
    this.backward = backward;
    long aLength = (long) operands.rank * operands.in;
    long bLength = (long) operands.out * operands.rank;
    aGradient = context.floats(aLength);
    bGradient = context.floats(bLength);
    linear.setWeight(
        0, weight(context, operands.type, operands.out, operands.in, operands.w), null, null);
    if (operands.rank > 0) {
      linear.setAdapter(
          0,
          context.lowRank(
              operands.out,
              operands.in,
              operands.rank,
              operands.gamma,
              floats(operands.a, aLength),
              floats(operands.b, bLength),
              null,
              aGradient,
              bGradient,
              null));
    }
    x = activation(operands.in, operands.x);
    y = activation(operands.out, null);
    dy = activation(operands.out, operands.dy);
    dx = activation(operands.in, null);
    linear.forward(null, x, null, y); // the backward pass reads h in the tail of x
  }

  /** A weight with the values of a row-major matrix. */
  static Weight weight(RoraContext context, DataType type, int out, int in, FloatPointer values) {
    Weight weight = context.weight(type, out, in);
    int rows = Math.max(1, (1 << 28) / in); // a buffer holds less than 2 GiB
    for (int row = 0; row < out; row += rows) {
      int now = Math.min(rows, out - row);
      FloatPointer block =
          new FloatPointer(values).position((long) row * in).limit((long) (row + now) * in);
      ByteBuffer bytes = block.asByteBuffer().order(ByteOrder.nativeOrder());
      weight.write(row, now, DataType.F32, bytes);
    }
    return weight;
  }

  private FloatArray floats(FloatPointer values, long count) {
    FloatArray array = context.floats(count);
    array.write(0, toArray(values, count), 0, (int) count);
    return array;
  }

  private Activation activation(int width, FloatPointer valuesOrNull) {
    Activation activation =
        context.activation(operands.type, operands.tokens, width, linear.tail());
    activation.resize(operands.tokens);
    if (valuesOrNull != null) {
      activation.write(0, width, toArray(valuesOrNull, (long) operands.tokens * width));
    }
    return activation;
  }

  static float[] toArray(FloatPointer values, long count) {
    float[] array = new float[Math.toIntExact(count)];
    values.get(array);
    return array;
  }

  @Override
  public void run() {
    if (backward) {
      linear.backward(null, x, dy, false, dx);
    } else {
      linear.forward(null, x, null, y);
    }
  }

  @Override
  public Map<String, float[]> results() {
    aGradient.fill(0);
    bGradient.fill(0);
    run();
    Map<String, float[]> results = new LinkedHashMap<>();
    if (!backward) {
      results.put("y", rows(y));
      return results;
    }
    results.put("dx", rows(dx));
    if (operands.rank > 0) {
      results.put("dA", read(aGradient));
      results.put("dB", read(bGradient));
    }
    return results;
  }

  private float[] rows(Activation activation) {
    int rows = operands.comparedRows();
    float[] values = new float[Math.toIntExact(rows * activation.width())];
    activation.read(0, rows, 0, activation.width(), values);
    return values;
  }

  private static float[] read(FloatArray array) {
    float[] values = new float[Math.toIntExact(array.length())];
    array.read(0, values, 0, values.length);
    return values;
  }

  @Override
  public void close() {
    context.close();
  }
}
