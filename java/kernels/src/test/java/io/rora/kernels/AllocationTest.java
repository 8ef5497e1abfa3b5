package io.rora.kernels;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;
import org.junit.jupiter.api.Test;

/** That a step makes no Java object, so that no pause of the collector falls into training. */
class AllocationTest {
  private static final int TOKENS = 8;
  private static final int ROUNDS = 2000;

  /** One of everything a training step calls, made at set-up. */
  private static final class Step implements AutoCloseable {
    final RoraContext context = RoraContext.open("cpu", 1);
    final Weight weight = context.weight(DataType.F32, 12, 4);
    final FloatArray parameters = context.floats(32);
    final FloatArray gradients = context.floats(32);
    final FloatArray first = context.floats(32);
    final FloatArray second = context.floats(32);
    final LowRank adapter =
        context.lowRank(
            12,
            4,
            2,
            0.5,
            parameters.slice(0, 8),
            parameters.slice(8, 24),
            null,
            gradients.slice(0, 8),
            gradients.slice(8, 24),
            null);
    final LinearGroup group = context.linear(1);
    final Activation x = context.activation(DataType.F32, TOKENS, 4, 2);
    final Activation dx = context.activation(DataType.F32, TOKENS, 4, 2);
    final Activation normed = context.activation(DataType.F32, TOKENS, 4, 2);
    final Activation wide = context.activation(DataType.F32, TOKENS, 12, 2);
    final Activation dWide = context.activation(DataType.F32, TOKENS, 12, 2);
    final Activation narrow = context.activation(DataType.F32, TOKENS, 4, 2);
    final Activation half = context.activation(DataType.F32, TOKENS, 6, 0);
    final FloatArray norm = context.floats(4);
    final FloatArray normGradient = context.floats(4);
    final Rope rope = context.rope(TOKENS, 2, new float[] {1});
    final Attention attention = context.attention(2, 2, 2, 4, 8);
    final FloatArray lse = context.floats(attention.lseLength(TOKENS));
    final Weight table = context.weight(DataType.F32, 12, 4);
    final Batch batch = context.batch(TOKENS);
    final AdamwStep adamw = new AdamwStep();
    final FloatBuffer tokenLoss = Staging.direct(TOKENS * Float.BYTES).asFloatBuffer();
    final FloatMatrix rows = context.matrix(TOKENS, 4);
    final FloatMatrix h = context.matrix(TOKENS, 2);
    final FloatMatrix out = context.matrix(TOKENS, 12);
    final FloatMatrix a = context.matrix(2, 4);
    final FloatMatrix b = context.matrix(12, 2);
    final FloatMatrix dA = context.matrix(2, 4);
    final FloatMatrix dB = context.matrix(12, 2);
    final FloatMatrix dRows = context.matrix(TOKENS, 4);
    final Linear linear = new Linear(weight, a, b, 1);
    final HostMemory memory = HostMemory.of(Staging.direct(1024 * Float.BYTES));
    final RowLinear byAddress = context.rowLinear(weight, 2, DataType.F32, DataType.F32);
    final float[] host = new float[TOKENS * 12];
    final ByteBuffer row = Staging.direct(4 * Float.BYTES);

    Step() {
      group.setWeight(0, weight, null, null);
      group.setAdapter(0, adapter);
      norm.fill(1);
      parameters.fill(0.01f);
    }

    double run(int number) {
      for (int token = 0; token < TOKENS; token++) {
        batch.ids().put(token, token);
        batch.labels().put(token, token % 2 == 0 ? -100 : token);
        batch.positions().put(token, token);
        batch.begins().put(token, 0);
        batch.order().put(token, token);
      }
      batch.fill(TOKENS);
      weight.write(number % 12, 1, DataType.F32, row);
      adapter.refresh(weight);
      group.setDropout(0.1f, 42, number, 0);
      Layers.embeddingForward(table, batch, x);
      Layers.rmsNormForward(x, norm, 1e-5f, normed);
      group.forward(batch, normed, null, wide);
      rope.apply(batch, 0, 4, false, wide);
      attention.forward(batch, wide, lse, narrow);
      Layers.swigluForward(wide, 6, half);
      narrow.addTo(x);
      dx.copyFrom(x);
      double loss = Layers.crossEntropy(table, batch, x, 4, tokenLoss, dx);
      dWide.resize(x.tokens());
      dWide.clear();
      Layers.swigluBackward(wide, 6, half, dWide);
      attention.backward(batch, wide, narrow, lse, dx, dWide);
      rope.apply(batch, 0, 4, true, dWide);
      group.shrink(batch, normed);
      group.backward(batch, normed, dWide, true, dx);
      Layers.rmsNormBackward(x, norm, 1e-5f, narrow, normGradient, dx);
      linear.forward(rows, h, out);
      linear.backward(rows, h, out, dA, dB, dRows);
      weight.write(number % 12, 1, DataType.F32, memory.address(), 4);
      byAddress.adapter(0.5, memory.floats(0, 8), 4, memory.floats(8, 36), 3);
      byAddress.gradients(memory.floats(50, 8), 4, memory.floats(60, 36), 3);
      long rowsX = memory.floats(100, 40);
      long rowsH = memory.floats(200, 16);
      long rowsY = memory.floats(300, 96);
      byAddress.forward(TOKENS, rowsX, 5, rowsH, 2, rowsY, 12);
      long rowsDx = memory.floats(400, 32);
      byAddress.backward(TOKENS, rowsX, 5, rowsH, 2, rowsY, 12, true, rowsDx, 4, false);
      adamw.step(number + 1);
      adamw.learningRate(1e-3);
      double squares = context.sumOfSquares(gradients);
      context.adamw(adamw, parameters, gradients, first, second);
      narrow.read(0, TOKENS, 0, 4, host);
      narrow.write(0, 4, host);
      narrow.copyTokens(0, x, 1, 1);
      parameters.read(0, host, 0, 32);
      parameters.write(0, host, 0, 32);
      return loss + squares;
    }

    @Override
    public void close() {
      context.close();
    }
  }

  @Test
  void callsAllocateNothing() {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    long thread = Thread.currentThread().getId();
    try (Step step = new Step()) {
      double sum = 0;
      for (int i = 0; i < ROUNDS; i++) { // loads classes and compiles
        sum += step.run(i);
      }
      threads.getThreadAllocatedBytes(thread); // the first call allocates for itself
      int allocating = 0;
      for (int i = 0; i < ROUNDS; i++) {
        long before = threads.getThreadAllocatedBytes(thread);
        sum += step.run(i);
        allocating += threads.getThreadAllocatedBytes(thread) == before ? 0 : 1;
      }
      // Code that allocates does so in each round; the compiler may, once, when it throws code
      // away.
      assertTrue(allocating <= ROUNDS / 100, allocating + " of " + ROUNDS + " rounds allocated");
      assertTrue(Double.isFinite(sum), "loss " + sum);
    }
  }
}
