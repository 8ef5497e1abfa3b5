package io.rora.tokenizer;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.rora.config.StrictJson;
import io.rora.files.FileFormatException;
import io.rora.files.FileReader;
import java.io.IOException;
import java.io.StringWriter;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;

/**
 * The text of a tokenizer.json and what rora itself needs from it. Vocabulary and merges, a hundred
 * thousand entries and more, are passed over as a stream.
 */
final class TokenizerJson {
  /** Larger files are refused; the largest known are about 40 MB. */
  private static final long MAX_BYTES = 512L << 20;

  private final Path file;
  private final String text;
  private final ObjectMapper mapper;
  private final Set<String> wanted;
  private final Map<String, Integer> ids = new HashMap<>();
  private ArrayNode addedTokens;
  private boolean postProcessor;
  private int vocabulary;
  private int highest = -1;

  private TokenizerJson(Path file, String text, Set<String> wanted) {
    this.file = file;
    this.text = text;
    this.wanted = wanted;
    StreamReadConstraints limits =
        StreamReadConstraints.builder()
            .maxNestingDepth(64)
            .maxStringLength(Integer.MAX_VALUE)
            .build();
    this.mapper = new ObjectMapper(JsonFactory.builder().streamReadConstraints(limits).build());
    this.addedTokens = mapper.createArrayNode();
  }

  /**
   * Reads the file.
   *
   * @param wanted tokens whose ids will be asked for
   */
  static TokenizerJson read(Path file, Set<String> wanted) throws IOException {
    String text;
    try (FileReader reader = FileReader.open(file)) {
      if (reader.size() > MAX_BYTES) {
        throw new FileFormatException(
            file, "has " + reader.size() + " bytes: no tokenizer is so large");
      }
      ByteBuffer bytes = ByteBuffer.allocate((int) reader.size());
      reader.read(0, bytes);
      text = StrictJson.decode(file.toString(), bytes.flip());
    }
    TokenizerJson json = new TokenizerJson(file, text, wanted);
    try (JsonParser parser = json.mapper.createParser(text)) {
      json.scan(parser);
    } catch (JsonProcessingException e) {
      String message = e.getOriginalMessage().lines().findFirst().orElse("");
      throw new FileFormatException(file, "is not valid JSON: " + message);
    }
    return json;
  }

  private void scan(JsonParser parser) throws IOException {
    if (parser.nextToken() != JsonToken.START_OBJECT) {
      throw new FileFormatException(file, "is not a JSON object");
    }
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String name = parser.currentName();
      JsonToken value = parser.nextToken();
      if (name.equals("added_tokens") && value == JsonToken.START_ARRAY) {
        addedTokens = mapper.readTree(parser);
      } else if (name.equals("post_processor")) {
        postProcessor = value != JsonToken.VALUE_NULL;
        parser.skipChildren();
      } else if (name.equals("model") && value == JsonToken.START_OBJECT) {
        scanModel(parser);
      } else {
        parser.skipChildren();
      }
    }
    for (JsonNode token : addedTokens) {
      if (!token.path("id").canConvertToInt() || !token.path("content").isTextual()) {
        throw new FileFormatException(file, "added_tokens has one without id or content: " + token);
      }
      seen(token.get("content").textValue(), token.get("id").intValue());
    }
  }

  private void scanModel(JsonParser parser) throws IOException {
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String name = parser.currentName();
      JsonToken value = parser.nextToken();
      if (name.equals("vocab") && value == JsonToken.START_OBJECT) {
        while (parser.nextToken() == JsonToken.FIELD_NAME) {
          String token = parser.currentName();
          if (parser.nextToken() != JsonToken.VALUE_NUMBER_INT) {
            throw new FileFormatException(file, "model.vocab has no id for \"" + token + "\"");
          }
          vocabulary++;
          seen(token, parser.getIntValue());
        }
      } else {
        parser.skipChildren();
      }
    }
  }

  private void seen(String token, int id) {
    highest = Math.max(highest, id);
    if (wanted.contains(token)) {
      ids.put(token, id);
    }
  }

  /** Returns the id of a token that was wanted. */
  OptionalInt id(String token) {
    Integer id = ids.get(token);
    return id == null ? OptionalInt.empty() : OptionalInt.of(id);
  }

  /** Returns the number of ids, the highest plus one. */
  int size() {
    return highest + 1;
  }

  /** Returns whether the file itself says what is put around a text. */
  boolean hasPostProcessor() {
    return postProcessor;
  }

  /**
   * Makes sure that a token is among the special ones, as transformers does with those that
   * tokenizer_config.json names: with its own id, or one behind all others.
   *
   * @return whether anything had to be changed
   */
  boolean addSpecial(String content) {
    for (JsonNode token : addedTokens) {
      if (token.get("content").textValue().equals(content)) {
        boolean already = token.path("special").asBoolean();
        ((ObjectNode) token).put("special", true);
        return !already;
      }
    }
    int added = 0;
    for (JsonNode token : addedTokens) {
      added = Math.max(added, token.get("id").intValue() + 1);
    }
    int id = ids.getOrDefault(content, Math.max(added, vocabulary));
    addedTokens.add(specialToken(mapper, id, content, true));
    seen(content, id);
    return true;
  }

  /** Returns an entry of added_tokens whose text is found exactly as it is. */
  static ObjectNode specialToken(ObjectMapper mapper, int id, String content, boolean special) {
    return mapper
        .createObjectNode()
        .put("id", id)
        .put("content", content)
        .put("single_word", false)
        .put("lstrip", false)
        .put("rstrip", false)
        .put("normalized", false)
        .put("special", special);
  }

  /** Returns the file as it is. */
  String text() {
    return text;
  }

  /**
   * Returns the file with the added tokens as they are now and another post-processor.
   *
   * @param newPostProcessor null leaves the file's own
   */
  String rewritten(ObjectNode newPostProcessor) throws IOException {
    StringWriter out = new StringWriter(text.length() + (1 << 16));
    try (JsonParser parser = mapper.createParser(text);
        JsonGenerator generator = mapper.createGenerator(out)) {
      parser.nextToken();
      generator.writeStartObject();
      while (parser.nextToken() == JsonToken.FIELD_NAME) {
        String name = parser.currentName();
        parser.nextToken();
        if (name.equals("added_tokens")
            || (name.equals("post_processor") && newPostProcessor != null)) {
          parser.skipChildren();
        } else {
          generator.writeFieldName(name);
          generator.copyCurrentStructure(parser);
        }
      }
      generator.writeFieldName("added_tokens");
      generator.writeTree(addedTokens);
      if (newPostProcessor != null) {
        generator.writeFieldName("post_processor");
        generator.writeTree(newPostProcessor);
      }
      generator.writeEndObject();
    }
    return out.toString();
  }
}
