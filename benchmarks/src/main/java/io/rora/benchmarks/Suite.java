package io.rora.benchmarks;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.regex.Pattern;
import org.openjdk.jmh.infra.BenchmarkParams;
import org.openjdk.jmh.infra.IterationParams;
import org.openjdk.jmh.results.BenchmarkResult;
import org.openjdk.jmh.results.IterationResult;
import org.openjdk.jmh.results.RunResult;
import org.openjdk.jmh.results.format.ResultFormatFactory;
import org.openjdk.jmh.results.format.ResultFormatType;
import org.openjdk.jmh.runner.Runner;
import org.openjdk.jmh.runner.RunnerException;
import org.openjdk.jmh.runner.WorkloadParams;
import org.openjdk.jmh.runner.options.ChainedOptionsBuilder;
import org.openjdk.jmh.runner.options.OptionsBuilder;
import org.openjdk.jmh.runner.options.TimeValue;
import org.openjdk.jmh.runner.options.VerboseMode;

/**
 * Runs cells by JMH, each in one fork whose iterations alternate between the implementations, and
 * takes the iterations apart again: one result for each implementation, as if JMH had run them by
 * themselves.
 */
final class Suite {
  private final String machine;
  private final int rounds;
  private final TimeValue iteration;
  private final Duration limit;
  private final int forks;
  private final PrintStream progress;
  private final List<RunResult> results = new ArrayList<>();
  private final List<String> leftOut = new ArrayList<>();

  /**
   * Makes a suite.
   *
   * @param machine what {@link Machine#describe} says
   * @param rounds iterations of each implementation
   * @param iteration the least time of one
   * @param limit cells that would start later are left out
   * @param forks 1; 0 measures in this process, for tests
   * @param progress a line for each cell
   */
  Suite(
      String machine,
      int rounds,
      TimeValue iteration,
      Duration limit,
      int forks,
      PrintStream progress) {
    this.machine = machine;
    this.rounds = rounds;
    this.iteration = iteration;
    this.limit = limit;
    this.forks = forks;
    this.progress = progress;
  }

  /**
   * Runs the cells; one that fails is noted in {@link #leftOut}. After each the file holds the
   * results so far as JMH's JSON, so that a run of hours that is cut off leaves what it has found.
   */
  void run(List<Cell> cells, Path file) throws IOException {
    long begin = System.nanoTime();
    for (int i = 0; i < cells.size(); i++) {
      Cell cell = cells.get(i);
      if (System.nanoTime() - begin > limit.toNanos()) {
        leftOut.add(cell.describe() + ": no time was left");
        continue;
      }
      progress.printf("[%d/%d] %s%n", i + 1, cells.size(), cell.describe());
      try {
        results.addAll(run(cell));
        write(file);
      } catch (RunnerException e) {
        leftOut.add(cell.describe() + ": " + reason(e));
      }
    }
    write(file);
  }

  /** What was not measured, and why. */
  List<String> leftOut() {
    return leftOut;
  }

  private void write(Path file) throws IOException {
    Path fresh = file.resolveSibling(file.getFileName() + ".part");
    try (PrintStream out = new PrintStream(fresh.toFile(), StandardCharsets.UTF_8)) {
      ResultFormatFactory.getInstance(ResultFormatType.JSON, out).writeOut(results);
      if (out.checkError()) {
        throw new IOException(fresh + ": could not be written; is the disk full?");
      }
    }
    Files.move(fresh, file, StandardCopyOption.REPLACE_EXISTING);
  }

  private List<RunResult> run(Cell cell) throws RunnerException {
    int sides = Math.max(1, cell.impls().size());
    ChainedOptionsBuilder options =
        new OptionsBuilder()
            .include("^" + Pattern.quote(cell.benchmark().getName() + ".run") + "$")
            .forks(forks)
            .shouldFailOnError(true)
            .verbosity(VerboseMode.SILENT)
            .jvmArgsAppend(
                Machine.PROPERTY + machine,
                Operator.NO_LIMIT,
                Operator.NO_PHYSICAL_LIMIT,
                Operator.QUIET);
    if (!cell.impls().isEmpty()) {
      options
          .warmupIterations(sides)
          .warmupTime(iteration)
          .measurementIterations(sides * rounds)
          .measurementTime(iteration)
          .param("impl", String.join("+", cell.impls()));
    }
    cell.parameters().forEach(options::param);
    Collection<RunResult> found = new Runner(options.build()).run();
    List<RunResult> apart = new ArrayList<>();
    for (RunResult result : found) {
      apart.addAll(apart(result, cell.impls()));
    }
    return apart;
  }

  /** Iteration i of a result belongs to implementation {@code i mod n}. */
  static List<RunResult> apart(RunResult result, List<String> impls) {
    if (impls.isEmpty()) {
      return List.of(result);
    }
    List<RunResult> apart = new ArrayList<>();
    for (int side = 0; side < impls.size(); side++) {
      BenchmarkParams params = params(result.getParams(), impls.get(side), impls.size());
      List<BenchmarkResult> forks = new ArrayList<>();
      for (BenchmarkResult fork : result.getBenchmarkResults()) {
        List<IterationResult> own = new ArrayList<>();
        int index = 0;
        for (IterationResult iteration : fork.getIterationResults()) {
          if (index++ % impls.size() == side) {
            own.add(iteration);
          }
        }
        forks.add(new BenchmarkResult(params, own, fork.getMetadata()));
      }
      apart.add(new RunResult(params, forks));
    }
    return apart;
  }

  private static BenchmarkParams params(BenchmarkParams of, String impl, int sides) {
    WorkloadParams workload = new WorkloadParams();
    int order = 0;
    for (String key : of.getParamsKeys()) {
      workload.put(key, key.equals("impl") ? impl : of.getParam(key), order++);
    }
    return new BenchmarkParams(
        of.getBenchmark(),
        of.generatedBenchmark(),
        of.shouldSynchIterations(),
        of.getThreads(),
        of.getThreadGroups(),
        of.getThreadGroupLabels(),
        of.getForks(),
        of.getWarmupForks(),
        each(of.getWarmup(), sides),
        each(of.getMeasurement(), sides),
        of.getMode(),
        workload,
        of.getTimeUnit(),
        of.getOpsPerInvocation(),
        of.getJvm(),
        of.getJvmArgs(),
        of.getJdkVersion(),
        of.getVmName(),
        of.getVmVersion(),
        of.getJmhVersion(),
        of.getTimeout());
  }

  private static IterationParams each(IterationParams of, int sides) {
    return new IterationParams(
        of.getType(), of.getCount() / sides, of.getTime(), of.getBatchSize());
  }

  private static String reason(Throwable error) {
    Throwable cause = error;
    while (cause.getCause() != null || cause.getSuppressed().length > 0) {
      cause = cause.getCause() != null ? cause.getCause() : cause.getSuppressed()[0];
    }
    return cause.getMessage() == null ? cause.toString() : cause.getMessage();
  }
}
