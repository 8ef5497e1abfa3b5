package io.rora.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** The predictions in docs/gpu.md are what benchmarks/GpuModel.java prints. */
class GpuModelTest {
  private static final String PAGE = "docs/gpu.md";

  private static Path root() {
    Path folder = Path.of("").toAbsolutePath();
    while (!Files.exists(folder.resolve(PAGE))) {
      folder = folder.getParent();
      assertNotNull(folder, PAGE + " is in no folder above this one");
    }
    return folder;
  }

  @Test
  void pageHasWhatTheModelPrints() throws Exception {
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                root().resolve("benchmarks/GpuModel.java").toString())
            .redirectErrorStream(true)
            .start();
    String printed = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), printed);
    String table = "```\n" + String.join("\n", printed.lines().toList()) + "\n```\n";
    assertTrue(Files.readString(root().resolve(PAGE)).contains(table), printed);
  }
}
