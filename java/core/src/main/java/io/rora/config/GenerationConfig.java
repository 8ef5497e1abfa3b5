package io.rora.config;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * What rora takes from a generation_config.json.
 *
 * @param eosTokenIds ids at which generation stops; may be empty
 */
public record GenerationConfig(List<Integer> eosTokenIds) {
  /** Copies the list. */
  public GenerationConfig {
    eosTokenIds = List.copyOf(eosTokenIds);
  }

  /** Reads the file of a model directory; without one nothing is set. */
  public static GenerationConfig read(Path modelDirectory) throws IOException {
    Path file = modelDirectory.resolve("generation_config.json");
    if (!Files.exists(file)) {
      return new GenerationConfig(List.of());
    }
    return new GenerationConfig(HuggingFaceConfig.eosIds(StrictJson.read(file), List.of()));
  }
}
