package io.rora.tokenizer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.rora.TestFiles;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** Files from outside the repository; each test is skipped where its file is absent. */
class RealModelTokenizerTest {
  @Test
  void smolLmGivesItsOwnIds() throws IOException {
    try (Tokenizer tokenizer =
        Tokenizer.open(TestFiles.require("models/SmolLM2-135M-Instruct.Q4_1.gguf"))) {
      assertArrayEquals(
          new int[] {19556, 905, 28, 216, 33, 34, 35, 36, 37, 15486, 46494, 17097, 241, 115, 40993},
          tokenizer.encode("Hello world, 12345 naïve 日本"));
    }
  }

  @Test
  void tinyModelsGiveLlamaCppsIds() throws IOException {
    Path folder = TestFiles.require("models/tiny");
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
