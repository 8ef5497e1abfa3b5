package io.rora.benchmarks;

import io.rora.kernels.Activation;
import io.rora.kernels.DataType;
import io.rora.kernels.FloatArray;
import io.rora.kernels.LinearGroup;
import io.rora.kernels.LowRank;
import io.rora.kernels.RoraContext;
import io.rora.kernels.ScalingRule;
import io.rora.kernels.Weight;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.util.Random;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Time of a linear layer with a RoRA adapter, as a layer of a model calls it: activations in and
 * out, on all cores, at shapes of SmolLM2-135M and one square.
 *
 * <p>One forward call is {@code 2 tokens (in out + rank (in + out))} FLOP. One backward call
 * computes the input gradient and both adapter gradients: {@code 2 tokens (in out + 2 rank (in +
 * out))} FLOP; rank 0 is the bare layer. The counter {@code flop} reports FLOP per second of this
 * work, in units of the time unit.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(3)
public class LinearBenchmark {
  private static final long SEED = 2501_04315;
  private static final double ALPHA = 16;

  /** {@code OUTxIN}. */
  @Param({"576x576", "1536x576", "576x1536", "2048x2048"})
  public String shape;

  /** Rows of x. */
  @Param({"1024"})
  public int tokens;

  /** The adapter's rank; 0 is no adapter. */
  @Param({"0", "32", "64"})
  public int rank;

  /** What weights and activations are stored as. */
  @Param({"F32", "BF16"})
  public DataType dtype;

  private RoraContext context;
  private LinearGroup linear;
  private Activation x;
  private Activation y;
  private Activation dx;
  private int in;
  private int out;

  /** JMH makes one. */
  public LinearBenchmark() {}

  /** Makes the layer, and random inputs. */
  @Setup
  public void open() {
    String[] sizes = shape.split("x", -1);
    out = Integer.parseInt(sizes[0]);
    in = Integer.parseInt(sizes[1]);
    Random random = new Random(SEED);
    context = RoraContext.open("cpu", 0);
    linear = context.linear(1);
    linear.setWeight(0, weight(random), null, null);
    if (rank > 0) {
      linear.setAdapter(0, adapter(random));
    }
    x = activation(in, random);
    y = activation(out, random);
    dx = activation(in, random);
  }

  private Weight weight(Random random) {
    ByteBuffer values =
        ByteBuffer.allocateDirect(out * in * Float.BYTES).order(ByteOrder.nativeOrder());
    values.asFloatBuffer().put(random(random, out * in));
    Weight weight = context.weight(dtype, out, in);
    weight.write(0, out, DataType.F32, values);
    return weight;
  }

  private LowRank adapter(Random random) {
    return context.lowRank(
        out,
        in,
        rank,
        ScalingRule.RORA.gamma(ALPHA, rank),
        floats(random, rank * in),
        floats(random, out * rank),
        null,
        context.floats((long) rank * in),
        context.floats((long) out * rank),
        null);
  }

  private FloatArray floats(Random random, int count) {
    FloatArray array = context.floats(count);
    array.write(0, random(random, count), 0, count);
    return array;
  }

  private Activation activation(int width, Random random) {
    Activation activation = context.activation(dtype, tokens, width, linear.tail());
    activation.resize(tokens);
    activation.write(0, width, random(random, tokens * width));
    return activation;
  }

  private static float[] random(Random random, int count) {
    float[] values = new float[count];
    for (int i = 0; i < count; i++) {
      values[i] = random.nextFloat() * 2 - 1;
    }
    return values;
  }

  /** Frees everything. */
  @TearDown
  public void close() {
    context.close();
  }

  /** The output. */
  @Benchmark
  public Activation forward() {
    linear.forward(null, x, null, y);
    return y;
  }

  /** The gradients of input and adapter; the adapter's pile up from call to call, at equal cost. */
  @Benchmark
  public Activation backward() {
    linear.backward(null, x, y, false, dx);
    return dx;
  }
}
