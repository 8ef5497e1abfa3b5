package io.rora.tokenizer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** Files from outside the repository; each test is skipped where its file is absent. */
class RealModelTokenizerTest {
  private static Path file(String name) {
    String folder =
        System.getProperty("RORA_TEST_FILES", System.getenv().getOrDefault("RORA_TEST_FILES", ""));
    Path root = Path.of(System.getProperty("rora.root", "../.."));
    Path file = (folder.isEmpty() ? root.resolve("../shared") : Path.of(folder)).resolve(name);
    assumeTrue(Files.exists(file), "needs " + file + " (RORA_TEST_FILES names its folder)");
    return file;
  }

  @Test
  void smolLmGivesItsOwnIds() throws IOException {
    try (Tokenizer tokenizer = Tokenizer.open(file("models/SmolLM2-135M-Instruct.Q4_1.gguf"))) {
      assertArrayEquals(
          new int[] {19556, 905, 28, 216, 33, 34, 35, 36, 37, 15486, 46494, 17097, 241, 115, 40993},
          tokenizer.encode("Hello world, 12345 naïve 日本"));
    }
  }

  @Test
  void tinyModelsGiveLlamaCppsIds() throws IOException {
    Path folder = file("models/tiny");
    for (JsonNode test : new ObjectMapper().readTree(folder.resolve("reference.json").toFile())) {
      Path model = folder.resolve(test.get("file").textValue());
      try (Tokenizer tokenizer = Tokenizer.open(model)) {
        String prompt = test.get("prompt").textValue();
        assertArrayEquals(
            Golden.ints(test.get("prompt_ids")), tokenizer.encode(prompt), model + ": " + prompt);
      }
    }
  }
}
