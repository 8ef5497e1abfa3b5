package io.rora.benchmarks;

import io.rora.kernels.Activation;
import io.rora.kernels.Batch;
import io.rora.kernels.RoraContext;
import java.util.Map;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.pytorch.Tensor;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/** An operator of a model's layer other than the linear ones. */
public abstract class LayerOperator extends Operator {
  /** Whose sizes. */
  @Param("SMOLLM2_135M")
  public ModelShape model;

  Numbers numbers;

  /** JMH makes one. */
  protected LayerOperator() {}

  @Override
  void prepare(Numbers made) {
    numbers = made;
  }

  @Override
  void release() {
    numbers = null;
  }

  /** The operator. */
  @Benchmark
  public void run() {
    call();
  }

  /** Ours. */
  abstract Side rora();

  /** Libtorch's, or an error where it has no such operator. */
  Side torch() {
    throw Peers.unknown(Peers.LIBTORCH, Peers.RORA);
  }

  @Override
  Side side(String name) {
    return switch (name) {
      case Peers.RORA -> rora();
      case Peers.LIBTORCH -> {
        Torch.open();
        yield torch();
      }
      default -> throw Peers.unknown(name, Peers.RORA, Peers.LIBTORCH);
    };
  }

  /** An activation of all tokens with the numbers of an operand. */
  Activation activation(RoraContext context, int width, int operand) {
    Activation activation = context.activation(dtype, tokens, width, 0);
    activation.resize(tokens);
    activation.write(0, width, numbers.array(tokens * width, operand, 1));
    return activation;
  }

  /** The same numbers in a tensor {@code [tokens, width]}. */
  Tensor tensor(int width, int operand) {
    return tensor(tokens, width, operand, 1);
  }

  /** A tensor {@code [rows, columns]} with the numbers of an operand. */
  Tensor tensor(long rows, long columns, int operand, double scale) {
    FloatPointer values = numbers.allocate(rows * columns, operand, scale);
    try {
      return Torch.tensor(values, dtype, rows, columns);
    } finally {
      values.deallocate();
    }
  }

  /** One document of all tokens: its ids, and as labels those of the following tokens. */
  Batch batch(RoraContext context) {
    return Documents.batch(context, tokens, 1, model.vocabulary);
  }

  /** All tokens of an activation. */
  float[] read(Activation activation) {
    float[] values = new float[Math.toIntExact(tokens * activation.width())];
    activation.read(0, tokens, 0, activation.width(), values);
    return values;
  }

  /** Ours on a context of its own, which closing frees. */
  static Side onContext(
      RoraContext context, Runnable run, Runnable clear, String name, Reader reader) {
    return Side.of(
        run,
        () -> {
          clear.run();
          run.run();
          return Map.of(name, reader.read());
        },
        context::close);
  }

  /** Reads a result. */
  @FunctionalInterface
  interface Reader {
    /** Returns its values. */
    float[] read();
  }
}
