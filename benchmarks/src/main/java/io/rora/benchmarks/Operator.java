package io.rora.benchmarks;

import io.rora.kernels.DataType;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Level;
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
 * One operator at one size, by one implementation or by several in turn.
 *
 * <p>{@code impl} names the implementation: {@code rora}, {@code libtorch}, ... Several are joined
 * by {@code +}, as in {@code rora+libtorch}: then iteration i times number {@code i mod n} of them,
 * so that whatever else the machine does meets all alike. JMH's own score is then a mixture; {@code
 * --compare} takes such iterations apart.
 *
 * <p>At set-up every implementation's results are compared with rora's, to prove that all do the
 * same work.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
@Fork(
    value = 1,
    jvmArgsAppend = {
      Operator.NO_LIMIT,
      Operator.NO_PHYSICAL_LIMIT,
      Operator.QUIET,
    })
public abstract class Operator {
  // JavaCPP would keep native memory below the heap's limit ...
  static final String NO_LIMIT = "-Dorg.bytedeco.javacpp.maxBytes=0";
  static final String NO_PHYSICAL_LIMIT = "-Dorg.bytedeco.javacpp.maxPhysicalBytes=0";
  // ... and warn at every start that the peers were built with its version before.
  static final String QUIET = "-Dorg.bytedeco.javacpp.logger=slf4j";

  /** The implementation, or several joined by {@code +}. */
  @Param(Peers.RORA)
  public String impl;

  /** Rows of the activations. */
  @Param("1024")
  public int tokens;

  /** What weights and activations are stored as. */
  @Param({"F32", "BF16"})
  public DataType dtype;

  private final List<Side> sides = new ArrayList<>();
  private int iteration;
  private Side now;

  /** JMH makes one. */
  protected Operator() {}

  /** Makes the operands that all sides share. */
  abstract void prepare(Numbers numbers);

  /** Makes the side of that name, or throws {@link Peers#unknown}. */
  abstract Side side(String name);

  /** Frees the operands. */
  abstract void release();

  /** Makes the sides, and sees that they agree. */
  @Setup(Level.Trial)
  public void open() {
    prepare(new Numbers());
    String[] names = impl.split("\\+", -1);
    Map<String, float[]> expected = null;
    if (names.length > 1 || !names[0].equals(Peers.RORA)) {
      try (Side rora = side(Peers.RORA)) {
        expected = rora.results();
      }
    }
    for (String name : names) {
      Side side = side(name);
      sides.add(side);
      if (expected != null) {
        Agreement.check(name, side.results(), expected, dtype);
      }
    }
  }

  /**
   * Chooses the next side; where they alternate, a call before the clock starts wakes its threads.
   */
  @Setup(Level.Iteration)
  public void next() {
    now = sides.get(iteration++ % sides.size());
    now.reset();
    if (sides.size() > 1) {
      now.run();
    }
  }

  /** The operator; what benchmark methods do. */
  final void call() {
    now.run();
  }

  /** Frees everything. */
  @TearDown(Level.Trial)
  public void close() {
    sides.forEach(Side::close);
    sides.clear();
    release();
  }
}
