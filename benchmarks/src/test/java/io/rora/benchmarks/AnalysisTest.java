package io.rora.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AnalysisTest {
  private static final double CLOSE = 1e-12;

  @TempDir Path directory;

  private Analysis analysis() throws IOException {
    return new Analysis(Measurement.read(Fixture.copyTo(directory)));
  }

  private static Measurement measured(Double... seconds) {
    return new Measurement(
        "X", Map.of(), List.of(seconds), List.of(), List.of(Machine.PROPERTY + "one run"));
  }

  @Test
  void ratioIsTheMedianOfTheRounds() {
    assertEquals(2, measured(1.0, 10.0, 3.0).ratio(measured(2.0, 10.0, 9.0)), CLOSE);
  }

  @Test
  void ratioOfUnequalRoundsIsThatOfMedians() {
    assertEquals(3, measured(1.0, 2.0, 3.0).ratio(measured(5.0, 7.0)), CLOSE);
  }

  @Test
  void runsApartAreComparedByTheirMedians() {
    List<Double> seconds = List.of(2.0, 10.0, 9.0);
    Measurement ours = measured(1.0, 10.0, 3.0);
    Measurement jmh = new Measurement("X", Map.of(), seconds, List.of(), List.of());
    Measurement another =
        new Measurement(
            "X", Map.of(), seconds, List.of(), List.of(Machine.PROPERTY + "another run"));
    assertEquals(3, ours.ratio(jmh), CLOSE);
    assertEquals(3, ours.ratio(another), CLOSE);
    assertEquals(1, jmh.ratio(jmh), CLOSE);
  }

  @Test
  void medianOfAnEvenNumberIsBetweenTheMiddleTwo() {
    assertEquals(2.5, Measurement.median(List.of(4.0, 1.0, 3.0, 2.0)), CLOSE);
  }

  @Test
  void summaryIsTheGeometricMeanAndTheLeast() throws IOException {
    // Ratios of ranks 0, 8, 64: medians of (26/25, 28/27, 30/26), (30/26, 31/26.5, 33/27.5),
    // (2, 1, 1.5).
    double mean = Math.cbrt((26.0 / 25) * (31 / 26.5) * 1.5);
    Analysis.Summary linear = analysis().summaries().get(0);
    assertEquals("libtorch", linear.peer());
    assertEquals("linear F32", linear.group());
    assertEquals(3, linear.count());
    assertEquals(mean, linear.mean(), CLOSE);
    assertEquals(26.0 / 25, linear.least(), CLOSE);
    assertTrue(linear.where().contains("rank 0"), linear.where());
  }

  @Test
  void ceilingsAreTheCounters() throws IOException {
    Analysis analysis = analysis();
    assertEquals(4e11, analysis.peak("F32").getAsDouble());
    assertEquals(8e11, analysis.peak("BF16").getAsDouble());
    assertEquals(2e10, analysis.bandwidth().getAsDouble());
  }

  @Test
  void shareOfPeakCountsTheDenseProductAlone() throws IOException {
    double dense = 2.0 * 1024 * 2048 * 2048;
    Analysis analysis = analysis();
    Measurement rank64 = analysis.comparisons().get(2).ours();
    assertEquals("64", rank64.parameter("rank"));
    assertEquals(dense / 0.028 / 4e11, analysis.shareOfPeak(rank64).getAsDouble(), CLOSE);
  }

  @Test
  void boundaryCostsItsShareOfOurTime() throws IOException {
    String text = Report.text(Report.tables(analysis()));
    assertTrue(text.contains("+25 %"), text); // 35 ms over 28
  }

  @Test
  void ratiosOfFewRoundsAreCalledNoise() throws IOException {
    String text = Report.text(Report.tables(analysis()));
    assertTrue(text.contains("adds to ours; of 1 round(s) only"), text); // 128 and 512 tokens
    List<Measurement> three =
        Measurement.read(directory.resolve("results.json")).stream()
            .filter(m -> m.seconds().size() >= 3)
            .toList();
    assertFalse(Report.text(Report.tables(new Analysis(three))).contains("round(s)"));
  }

  @Test
  void growthOverDocumentsIsLinear() throws IOException {
    Analysis.Growth documents = analysis().growth().get(0);
    assertEquals("documents", documents.over());
    assertEquals(4, documents.points().size());
    assertEquals(1, documents.fit().exponent(), CLOSE);
    assertEquals(1, documents.fit().rSquare(), CLOSE);
    assertEquals(0.3, documents.fit().at(3), CLOSE);
  }

  @Test
  void growthOverParametersTakesStepsOfEqualTokens() throws IOException {
    Analysis.Growth parameters = analysis().growth().get(1);
    assertEquals("parameters", parameters.over());
    assertEquals(3, parameters.points().size());
    double smallest = ModelShape.TINY_1M.parameters(ModelShape.TINY_1M.layers);
    assertEquals(smallest, parameters.points().get(0).size());
  }

  @Test
  void fitFindsTheExponent() {
    Fit fit =
        Fit.of(List.of(new Fit.Point(1, 3), new Fit.Point(10, 300), new Fit.Point(100, 30000)));
    assertEquals(2, fit.exponent(), CLOSE);
    assertEquals(3, fit.factor(), 1e-10);
    assertThrows(
        IllegalArgumentException.class,
        () -> Fit.of(List.of(new Fit.Point(5, 1), new Fit.Point(5, 2))));
  }

  @Test
  void laterMeasurementsReplaceEarlierOnes() throws IOException {
    List<Measurement> twice = Measurement.read(Fixture.copyTo(directory));
    int once = new Analysis(twice).comparisons().size();
    twice.addAll(Measurement.read(directory.resolve("results.json")));
    assertEquals(once, new Analysis(twice).comparisons().size());
  }

  @Test
  void filesThatAreNotJmhsAreRefused() throws IOException {
    Path file = directory.resolve("other.json");
    Files.writeString(file, "{}");
    IOException object = assertThrows(IOException.class, () -> Measurement.read(file));
    assertTrue(object.getMessage().contains("other.json: is no result"), object.getMessage());
    Files.writeString(file, "[{\"benchmark\": \"a.B.run\"}]");
    IOException foreign = assertThrows(IOException.class, () -> Measurement.read(file));
    assertTrue(foreign.getMessage().contains("\"a.B.run\" is no result"), foreign.getMessage());
    Files.writeString(
        file,
        "[{\"benchmark\": \"io.rora.benchmarks.B.run\", \"primaryMetric\":"
            + " {\"scoreUnit\": \"ops/s\", \"rawData\": [[1]]}}]");
    IOException unit = assertThrows(IOException.class, () -> Measurement.read(file));
    assertTrue(unit.getMessage().contains("-bm avgt"), unit.getMessage());
  }

  @Test
  void workOfALinearLayerIsItsFormula() {
    Map<String, String> parameters =
        Map.of("shape", "30x20", "tokens", "7", "rank", "5", "dtype", "BF16");
    Work forward =
        Work.of(new Measurement("LinearForward", parameters, List.of(1.0), List.of(), List.of()));
    assertEquals(2 * 7 * (600 + 5 * 50), forward.flop());
    assertEquals(2 * 7 * 600, forward.baseFlop());
    assertEquals(2 * (7 * 50 + 600) + 4 * 5 * 50, forward.bytes());
    Work backward =
        Work.of(new Measurement("LinearBackward", parameters, List.of(1.0), List.of(), List.of()));
    assertEquals(2 * 7 * (600 + 10 * 50), backward.flop());
  }
}
