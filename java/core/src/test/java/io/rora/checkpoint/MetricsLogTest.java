package io.rora.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class MetricsLogTest {
  @TempDir Path folder;

  private String opened(String text, int step) throws IOException {
    Path file = folder.resolve("metrics.jsonl");
    Files.writeString(file, text);
    MetricsLog.open(file, step).close();
    return Files.readString(file);
  }

  @Test
  void linesUpToTheStepStayByteForByte() throws IOException {
    String kept = "{\"step\": 1,   \"loss\":2.50}\n{\"step\":2}\n{\"step\":2,\"eval_loss\":1e0}\n";
    assertEquals(kept, opened(kept + "{\"step\":3}\n{\"step\":4}\n", 2));
  }

  @ParameterizedTest
  @ValueSource(strings = {"{\"step\":2", "{\"step\":2}", "\u0000\u0000\n{\"step\":2}\n", "xx\n"})
  void aDamagedEndIsCutOff(String end) throws IOException {
    assertEquals("{\"step\":1}\n", opened("{\"step\":1}\n" + end, 5));
  }

  @Test
  void linesAreAppendedBehindWhatStays() throws IOException {
    Path file = folder.resolve("new").resolve("metrics.jsonl");
    try (MetricsLog log = MetricsLog.open(file, 0)) {
      log.append(Map.of("step", 1));
    }
    try (MetricsLog log = MetricsLog.open(file, 1)) {
      log.append(Map.of("step", 2));
    }
    assertEquals("{\"step\":1}\n{\"step\":2}\n", Files.readString(file));
  }
}
