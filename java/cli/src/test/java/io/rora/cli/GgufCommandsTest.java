package io.rora.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The commands on GGUF files that llama.cpp wrote; they lie outside of the repository, in the
 * folder that {@code RORA_TEST_FILES} names.
 */
class GgufCommandsTest {
  private static final double NEAR_TIE = 0.005;
  private static final ObjectMapper JSON = new ObjectMapper();

  @TempDir Path folder;
  private Path models;

  @BeforeEach
  void findModels() {
    String named = System.getProperty("RORA_TEST_FILES", System.getenv("RORA_TEST_FILES"));
    models =
        (named == null ? repository().resolveSibling("shared") : Path.of(named))
            .resolve("models/tiny");
    assumeTrue(Files.isDirectory(models), models + " is absent: set RORA_TEST_FILES");
  }

  private static Path repository() {
    Path folder = Path.of("").toAbsolutePath();
    while (!Files.exists(folder.resolve("native/include/rora"))) {
      folder = folder.getParent();
    }
    return folder;
  }

  @Test
  void inspectShowsWhichQuantisationsAFileMixes() throws IOException {
    JsonNode json =
        JSON.readTree(Cli.run("inspect", models.resolve("bpe-Q4_K_M.gguf"), "--json").out());
    assertEquals(
        List.of("F32", "Q4_K", "Q6_K"),
        json.get("types").properties().stream().map(e -> e.getKey()).toList());
    assertEquals(256, json.get("config").get("hidden_size").asInt());
  }

  @Test
  void generateGivesTheReferencesIdsForEveryFile() throws IOException {
    for (JsonNode reference : JSON.readTree(models.resolve("reference.json").toFile())) {
      Path file = models.resolve(reference.get("file").asText());
      Cli.Result result =
          Cli.run(
                  "generate",
                  "--model",
                  file,
                  "--prompt=" + reference.get("prompt").asText(),
                  "--max-new-tokens",
                  reference.get("greedy_ids").size(),
                  "--dtype",
                  "fp32",
                  "--json")
              .expect(0);
      JsonNode json = JSON.readTree(result.out());
      assertEquals(reference.get("prompt_ids"), json.get("prompt_ids"), file.toString());
      for (int i = 0; i < json.get("token_ids").size(); i++) {
        if (reference.get("margins").get(i).asDouble() < NEAR_TIE) {
          break;
        }
        assertEquals(
            reference.get("greedy_ids").get(i), json.get("token_ids").get(i), file + " " + i);
      }
    }
  }

  @Test
  void aQuantisedBaseIsMergedToADirectoryOfFloats() throws IOException {
    Path file = models.resolve("bpe-Q4_0.gguf");
    Path rows = Files.writeString(folder.resolve("rows.json"), "[" + TinyWorld.row(1) + "]");
    Path run = folder.resolve("run");
    Path merged = folder.resolve("merged");
    Cli.run("train", "--model", file, "--data", rows, "--out", run, "--max-steps", 1).expect(0);
    Cli.run("merge", "--model", file, "--adapter", run, "--out", merged).expect(0);
    JsonNode json = JSON.readTree(Cli.run("inspect", merged, "--json").expect(0).out());
    assertEquals(
        List.of("F32"), json.get("types").properties().stream().map(e -> e.getKey()).toList());
    Cli.run("generate", "--model", merged, "--prompt", "is").expect(0);
    assertTrue(Files.exists(merged.resolve("tokenizer.json")));
  }
}
