package io.rora.benchmarks;

import io.rora.kernels.RoraContext;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Memory bandwidth of all cores reading a buffer several times the last cache ({@link
 * RoraContext#measureBandwidth}). The result is the counter {@code perSecond}; the time is that of
 * measuring it.
 */
@State(Scope.Thread)
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.MICROSECONDS)
@Warmup(iterations = 0)
@Measurement(iterations = 1)
@Fork(1)
public class Bandwidth {
  private RoraContext context;

  /** JMH makes one. */
  public Bandwidth() {}

  /** Opens the device. */
  @Setup
  public void open() {
    context = RoraContext.open("cpu", Peers.threads());
  }

  /**
   * Measures.
   *
   * @param rate receives the result
   */
  @Benchmark
  public void run(Rate rate) {
    rate.perSecond = context.measureBandwidth(0);
  }

  /** Frees everything. */
  @TearDown
  public void close() {
    context.close();
  }
}
