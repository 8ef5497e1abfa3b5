package io.rora.tokenizer;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The golden tokenizers: what {@code make_golden.py} beside them wrote. */
public final class Golden {
  private final JsonNode json;

  private Golden(JsonNode json) {
    this.json = json;
  }

  /** Reads golden.json. */
  public static Golden read() throws IOException {
    return new Golden(new ObjectMapper().readTree(path("golden.json").toFile()));
  }

  /** Returns a golden file or directory. */
  public static Path path(String name) {
    try {
      return Path.of(Golden.class.getResource("/golden/tokenizer/" + name).toURI());
    } catch (URISyntaxException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Returns the texts that every case has ids for. */
  public List<String> texts() {
    List<String> texts = new ArrayList<>();
    json.get("texts").forEach(text -> texts.add(text.textValue()));
    return texts;
  }

  /** Returns the instruction rows that the sequences are made of. */
  public JsonNode rows() {
    return json.get("rows");
  }

  /** Returns a tokenizer's results. */
  public JsonNode testCase(String name) {
    return json.get("cases").get(name);
  }

  /** Returns a list of whole numbers. */
  public static int[] ints(JsonNode list) {
    int[] values = new int[list.size()];
    for (int i = 0; i < values.length; i++) {
      values[i] = list.get(i).intValue();
    }
    return values;
  }
}
