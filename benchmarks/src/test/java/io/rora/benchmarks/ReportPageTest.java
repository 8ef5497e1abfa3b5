package io.rora.benchmarks;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class ReportPageTest {
  @TempDir Path directory;

  @Test
  void dataCannotEndItsElement() throws IOException {
    Measurement hostile =
        new Measurement(
            "LinearForward</script>",
            Map.of("impl", "rora", "shape", "1x1", "tokens", "1", "rank", "0", "dtype", "F32"),
            List.of(1.0),
            List.of(),
            List.of());
    String page = ReportPage.of(new Analysis(List.of(hostile)));
    assertFalse(page.contains("LinearForward</script>"));
    assertTrue(page.contains("LinearForward\\u003c/script>"));
    assertTrue(page.contains("LinearForward&lt;/script&gt;"));
  }

  @Test
  void plainJmhResultsSayThatTheMachineIsUnknown() throws IOException {
    List<Measurement> results =
        Measurement.read(Fixture.copyTo(directory)).stream()
            .map(
                m ->
                    new Measurement(
                        m.operator(), m.parameters(), m.seconds(), m.perSecond(), List.of()))
            .toList();
    assertTrue(ReportPage.of(new Analysis(results)).contains("do not say what machine"));
  }
}
