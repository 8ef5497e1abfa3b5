package io.rora.benchmarks;

import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/** What forward and backward pass of a linear layer share. */
public abstract class LinearOperator extends Operator {
  /** {@code OUTxIN}: SmolLM2-135M's, the square of the bars, LLaMA-7B's and LLaMA3-8B's. */
  @Param({"576x576", "1536x576", "576x1536", "2048x2048", "4096x4096"})
  public String shape;

  /** The adapter's rank; 0 is no adapter. */
  @Param({"0", "64"})
  public int rank;

  private LinearOperands operands;

  /** JMH makes one. */
  protected LinearOperator() {}

  /** The operator. */
  @Benchmark
  public void run() {
    call();
  }

  abstract boolean backward();

  @Override
  void prepare(Numbers numbers) {
    operands = new LinearOperands(numbers, shape, tokens, rank, dtype);
  }

  @Override
  Side side(String name) {
    return switch (name) {
      case Peers.RORA -> new RoraLinear(operands, backward());
      case Peers.ROW_MAJOR -> new RowMajorLinear(operands, backward());
      case Peers.LIBTORCH -> new TorchLinear(operands, backward());
      case Peers.ONEDNN -> new OneDnnLinear(operands, backward());
      case Peers.OPENBLAS -> new OpenBlasLinear(operands, backward());
      default ->
          throw Peers.unknown(
              name, Peers.RORA, Peers.ROW_MAJOR, Peers.LIBTORCH, Peers.ONEDNN, Peers.OPENBLAS);
    };
  }

  @Override
  void release() {
    operands.close();
  }
}
