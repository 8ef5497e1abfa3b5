package io.rora.safetensors;

import io.rora.config.StrictJson;
import io.rora.files.FileFormatException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * A model.safetensors.index.json: which shard holds which tensor.
 *
 * @param shards file name of the shard by tensor name; plain names without any path
 */
public record SafetensorsIndex(Map<String, String> shards) {
  /** The file's name in a model directory. */
  public static final String FILE_NAME = "model.safetensors.index.json";

  /** Copies the map. */
  public SafetensorsIndex {
    shards = Collections.unmodifiableMap(new LinkedHashMap<>(shards));
  }

  /**
   * Reads an index.
   *
   * @throws FileFormatException if it is malformed, or a shard's name is more than the name of a
   *     file beside it
   */
  public static SafetensorsIndex read(Path file) throws IOException {
    StrictJson map = StrictJson.read(file).object("weight_map");
    Map<String, String> shards = new LinkedHashMap<>();
    for (String tensor : map.fields()) {
      String shard = map.string(tensor);
      if (!isPlainName(shard)) {
        throw map.error(
            tensor,
            "is in \""
                + shard
                + "\", which is not the plain name of a .safetensors file beside the index");
      }
      shards.put(tensor, shard);
    }
    if (shards.isEmpty()) {
      throw new FileFormatException(file, "weight_map is empty; fetch the index again");
    }
    return new SafetensorsIndex(shards);
  }

  private static boolean isPlainName(String name) {
    return name.endsWith(".safetensors")
        && !name.startsWith(".")
        && name.chars().noneMatch(c -> c == '/' || c == '\\' || c == ':' || c < ' ');
  }
}
