package io.rora.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The program that benchmarks/compare-generate.sh runs compiles and times what it says. */
class GenerateSpeedTest {
  private static final String PROGRAM = "benchmarks/peft/GenerateSpeed.java";

  @TempDir Path folder;

  private static Path program() {
    Path folder = Path.of("").toAbsolutePath();
    while (!Files.exists(folder.resolve(PROGRAM))) {
      folder = folder.getParent();
      assertNotNull(folder, PROGRAM + " is in no folder above this one");
    }
    return folder.resolve(PROGRAM);
  }

  @Test
  void eachRunButTheFirstPrintsTimesAndTheSameTokens() throws Exception {
    Path model = TinyWorld.in(folder).model;
    Path ids = Files.writeString(folder.resolve("ids"), "5 6 7 8\n");
    Path errors = folder.resolve("errors");
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Dorg.bytedeco.javacpp.cachedir=" + folder.resolve("javacpp"),
                "-cp",
                System.getProperty("java.class.path"),
                program().toString(),
                model.toString(),
                "F32",
                ids.toString(),
                "6",
                "2")
            .redirectError(errors.toFile())
            .start();
    String printed = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), Files.readString(errors));
    List<String> lines = printed.lines().toList();
    assertEquals(2, lines.size(), printed);
    JsonNode first = new ObjectMapper().readTree(lines.get(0));
    JsonNode second = new ObjectMapper().readTree(lines.get(1));
    assertTrue(first.get("prompt_seconds").asDouble() > 0, printed);
    assertTrue(first.get("seconds").asDouble() > 0, printed);
    assertEquals(first.get("ids"), second.get("ids"), printed);
    int tokens = first.get("ids").size();
    assertEquals(tokens == 6 ? 5 : tokens, first.get("passes").asInt(), printed);
  }
}
