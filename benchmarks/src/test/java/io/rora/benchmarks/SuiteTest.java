package io.rora.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.OutputStream;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.openjdk.jmh.runner.options.TimeValue;

/** Tiny sizes in this process, through JMH: that sides agree is seen by the operators' set-up. */
class SuiteTest {
  private static final PrintStream NOBODY =
      new PrintStream(OutputStream.nullOutputStream(), false, StandardCharsets.UTF_8);

  @TempDir Path directory;

  private Suite suite(int rounds, Duration limit, PrintStream progress) {
    return new Suite("a machine", rounds, TimeValue.milliseconds(1), limit, 0, progress);
  }

  private Path file() {
    return directory.resolve("results.json");
  }

  private List<Measurement> run(int rounds, Cell... cells) throws IOException {
    Suite suite = suite(rounds, Duration.ofMinutes(1), NOBODY);
    suite.run(List.of(cells), file());
    assertEquals(List.of(), suite.leftOut());
    return Measurement.read(file());
  }

  private static Map<String, String> linear(int rank, String type) {
    return Map.of("shape", "40x24", "tokens", "70", "rank", "" + rank, "dtype", type);
  }

  @Test
  void alternatingIterationsAreTakenApart() throws IOException {
    List<String> impls = List.of(Peers.RORA, Peers.ROW_MAJOR);
    List<Measurement> found = run(3, new Cell(LinearForward.class, linear(4, "F32"), impls));
    assertEquals(impls, found.stream().map(Measurement::impl).toList());
    for (Measurement m : found) {
      assertEquals("LinearForward", m.operator());
      assertEquals("40x24", m.parameter("shape"));
      assertEquals(3, m.seconds().size());
      assertTrue(m.best() > 0 && m.best() < 1, "" + m.seconds());
    }
    assertEquals(found.get(0).work(), found.get(1).work());
  }

  @ParameterizedTest
  @ValueSource(strings = {Peers.LIBTORCH, Peers.ONEDNN, Peers.OPENBLAS})
  void peerComputesTheSameLinearLayers(String peer) throws IOException {
    List<String> missing = new ArrayList<>();
    assumeTrue(Peers.loadable(missing).contains(peer), () -> "skipped: " + missing);
    List<Cell> cells = new ArrayList<>();
    for (String type : peer.equals(Peers.OPENBLAS) ? List.of("F32") : List.of("F32", "BF16")) {
      for (Class<?> operator : List.of(LinearForward.class, LinearBackward.class)) {
        for (int rank : new int[] {0, 4}) {
          cells.add(new Cell(operator, linear(rank, type), List.of(Peers.RORA, peer)));
        }
      }
    }
    assertEquals(2 * cells.size(), run(1, cells.toArray(Cell[]::new)).size());
  }

  @Test
  void libtorchComputesTheSameLayers() throws IOException {
    List<String> missing = new ArrayList<>();
    assumeTrue(Peers.loadable(missing).contains(Peers.LIBTORCH), () -> "skipped: " + missing);
    List<Cell> cells = new ArrayList<>();
    for (Class<?> operator :
        List.of(
            RmsNormForward.class,
            RmsNormBackward.class,
            SwigluForward.class,
            SwigluBackward.class,
            AttentionForward.class,
            AttentionBackward.class,
            CrossEntropy.class,
            Embedding.class)) {
      for (String type : List.of("F32", "BF16")) {
        Map<String, String> sizes = Map.of("model", "TINY_1M", "tokens", "70", "dtype", type);
        cells.add(new Cell(operator, sizes, List.of(Peers.RORA, Peers.LIBTORCH)));
      }
    }
    cells.add(
        new Cell(
            Adamw.class,
            Map.of("parameters", "1000", "tokens", "1", "dtype", "F32"),
            List.of(Peers.RORA, Peers.LIBTORCH)));
    assertEquals(2 * cells.size(), run(1, cells.toArray(Cell[]::new)).size());
  }

  @Test
  void stepsAndRopeRun() throws IOException {
    Map<String, String> rope = Map.of("model", "TINY_1M", "tokens", "64", "dtype", "F32");
    Map<String, String> step =
        Map.of(
            "model",
            "TINY_1M",
            "tokens",
            "64",
            "dtype",
            "BF16",
            "documents",
            "4",
            "rank",
            "4",
            "layers",
            "2");
    List<Measurement> found =
        run(
            2,
            new Cell(Rope.class, rope, List.of(Peers.RORA)),
            new Cell(TrainingStep.class, step, List.of(Peers.RORA)));
    assertEquals(List.of(2, 2), found.stream().map(m -> m.seconds().size()).toList());
  }

  @Test
  void peakIsACounter() throws IOException {
    List<Measurement> found = run(1, new Cell(Peak.class, Map.of("dtype", "F32"), List.of()));
    double peak = new Analysis(found).peak("F32").getAsDouble();
    assertTrue(peak > 1e8 && peak < 1e14, "" + peak);
  }

  @Test
  void failuresSayWhatIsWrongAndDoNotStopTheRest() throws IOException {
    Suite suite = suite(1, Duration.ofMinutes(1), NOBODY);
    suite.run(
        List.of(
            new Cell(LinearForward.class, linear(2, "F32"), List.of("cublas")),
            new Cell(
                LinearForward.class,
                Map.of("shape", "40*24", "tokens", "1", "rank", "0", "dtype", "F32"),
                List.of(Peers.RORA)),
            new Cell(LinearForward.class, linear(2, "BF16"), List.of(Peers.OPENBLAS))),
        file());
    List<String> reasons = suite.leftOut();
    assertEquals(3, reasons.size(), "" + reasons);
    assertTrue(reasons.get(0).contains("impl=cublas: this operator has rora"), reasons.get(0));
    assertTrue(reasons.get(1).contains("shape must be OUTxIN"), reasons.get(1));
    assertTrue(reasons.get(2).contains("OpenBLAS is measured in F32"), reasons.get(2));
  }

  @Test
  void whatIsDoneIsInTheFileBeforeTheNextCellStarts() throws IOException {
    List<Integer> found = new ArrayList<>();
    PrintStream progress =
        new PrintStream(OutputStream.nullOutputStream(), false, StandardCharsets.UTF_8) {
          @Override
          public PrintStream printf(String format, Object... arguments) {
            try {
              found.add(Files.exists(file()) ? Measurement.read(file()).size() : 0);
            } catch (IOException e) {
              throw new UncheckedIOException(e);
            }
            return this;
          }
        };
    Cell cell = new Cell(LinearForward.class, linear(0, "F32"), List.of(Peers.RORA));
    suite(1, Duration.ofMinutes(1), progress).run(List.of(cell, cell, cell), file());
    assertEquals(List.of(0, 1, 2), found);
  }

  @Test
  void cellsPastTheLimitAreNamed() throws IOException {
    Suite suite = suite(1, Duration.ofSeconds(-1), NOBODY);
    suite.run(
        List.of(new Cell(LinearForward.class, linear(0, "F32"), List.of(Peers.RORA))), file());
    assertEquals(1, suite.leftOut().size());
    assertTrue(suite.leftOut().get(0).endsWith("no time was left"), suite.leftOut().get(0));
  }
}
