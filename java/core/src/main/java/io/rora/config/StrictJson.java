package io.rora.config;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.rora.files.FileFormatException;
import io.rora.files.FileReader;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;

/**
 * A JSON object from outside, checked before it is believed: valid UTF-8, limited in size and
 * nesting, no name twice. Every getter that fails says which file and field, what was found and
 * what is expected.
 *
 * <p>A getter with a default gives it where the field is absent or null; one without refuses both.
 */
public final class StrictJson {
  /** Files larger than this are refused unless the caller says otherwise. */
  public static final long DEFAULT_MAX_BYTES = 64L << 20;

  /** Objects and lists may stand at most so deep in each other. */
  public static final int MAX_DEPTH = 64;

  private static final int MAX_NUMBER_LENGTH = 100;
  private static final int MAX_SHOWN = 60;

  private final String where;
  private final String prefix;
  private final ObjectNode node;

  private StrictJson(String where, String prefix, ObjectNode node) {
    this.where = where;
    this.prefix = prefix;
    this.node = node;
  }

  /** Reads a file that holds one JSON object of at most {@link #DEFAULT_MAX_BYTES}. */
  public static StrictJson read(Path file) throws IOException {
    return read(file, DEFAULT_MAX_BYTES);
  }

  /**
   * Reads a file that holds one JSON object.
   *
   * @throws FileFormatException if it is larger than {@code maxBytes} or not a JSON object
   */
  public static StrictJson read(Path file, long maxBytes) throws IOException {
    try (FileReader reader = FileReader.open(file)) {
      if (reader.size() > Math.min(maxBytes, Integer.MAX_VALUE - 16)) {
        throw new FileFormatException(
            file, "has " + reader.size() + " bytes, at most " + maxBytes + " are expected here");
      }
      ByteBuffer bytes = ByteBuffer.allocate((int) reader.size());
      reader.read(0, bytes);
      return parse(file.toString(), decode(file.toString(), bytes.flip()));
    }
  }

  /**
   * Parses one JSON object.
   *
   * @param where what messages call it: a file, or a file and a line
   */
  public static StrictJson parse(String where, String text) throws FileFormatException {
    JsonNode node;
    try {
      node = mapper().readTree(text);
    } catch (JsonProcessingException e) {
      throw new FileFormatException(where, "is not valid JSON: " + describe(e));
    }
    if (!(node instanceof ObjectNode object)) {
      throw new FileFormatException(
          where, "holds " + kind(node) + ", expected a JSON object {...}");
    }
    return new StrictJson(where, "", object);
  }

  /**
   * Decodes UTF-8 without replacing anything.
   *
   * @param where what messages call it
   */
  public static String decode(String where, ByteBuffer utf8) throws FileFormatException {
    int size = utf8.remaining();
    try {
      String text = StandardCharsets.UTF_8.newDecoder().decode(utf8).toString();
      return text.startsWith("\ufeff") ? text.substring(1) : text;
    } catch (CharacterCodingException e) {
      throw new FileFormatException(
          where, "is not UTF-8 text: wrong at byte " + (size - utf8.remaining()));
    }
  }

  private static JsonMapper mapper() {
    StreamReadConstraints limits =
        StreamReadConstraints.builder()
            .maxNestingDepth(MAX_DEPTH)
            .maxNumberLength(MAX_NUMBER_LENGTH)
            .maxStringLength(Integer.MAX_VALUE)
            .build();
    return JsonMapper.builder(JsonFactory.builder().streamReadConstraints(limits).build())
        .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
        .enable(DeserializationFeature.FAIL_ON_READING_DUP_TREE_KEY)
        .enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS)
        .enable(DeserializationFeature.USE_BIG_DECIMAL_FOR_FLOATS)
        .build();
  }

  /** Returns the parser's complaint in one line, with its place. */
  private static String describe(JsonProcessingException e) {
    String message = e.getOriginalMessage().lines().findFirst().orElse("");
    return e.getLocation() == null
        ? message
        : message
            + " (line "
            + e.getLocation().getLineNr()
            + ", column "
            + e.getLocation().getColumnNr()
            + ")";
  }

  /** Returns what messages call the file. */
  public String where() {
    return where;
  }

  /** Returns the names of the fields, sorted. */
  public Set<String> fields() {
    Set<String> names = new TreeSet<>();
    node.fieldNames().forEachRemaining(names::add);
    return names;
  }

  /** Returns whether the field is there, null included. */
  public boolean contains(String field) {
    return node.has(field);
  }

  /** Returns whether the field is there and not null. */
  public boolean has(String field) {
    return node.hasNonNull(field);
  }

  /** Returns a field as Jackson read it, or null where it is absent. Decimals are exact. */
  public JsonNode node(String field) {
    return node.get(field);
  }

  /** Returns the whole object as Jackson read it. */
  public ObjectNode node() {
    return node;
  }

  /** Returns a string. */
  public String string(String field) throws FileFormatException {
    return string(required(field, "a string"), field);
  }

  /** Returns a string, or the default. */
  public String string(String field, String otherwise) throws FileFormatException {
    return has(field) ? string(field) : otherwise;
  }

  /** Returns a whole number in [min, max]. */
  public int integer(String field, int min, int max) throws FileFormatException {
    return integer(required(field, range(min, max)), field, min, max);
  }

  /** Returns a whole number in [min, max], or the default. */
  public int integer(String field, int min, int max, int otherwise) throws FileFormatException {
    return has(field) ? integer(field, min, max) : otherwise;
  }

  /** Returns a whole number in [min, max]. */
  public long longInteger(String field, long min, long max) throws FileFormatException {
    JsonNode value = required(field, range(min, max));
    if (!value.isIntegralNumber()
        || !value.canConvertToLong()
        || value.longValue() < min
        || value.longValue() > max) {
      throw wrong(field, value, range(min, max));
    }
    return value.longValue();
  }

  /** Returns a finite number. */
  public double number(String field) throws FileFormatException {
    JsonNode value = required(field, "a number");
    if (!value.isNumber() || !Double.isFinite(value.doubleValue())) {
      throw wrong(field, value, "a number");
    }
    return value.doubleValue();
  }

  /** Returns a finite number, or the default. */
  public double number(String field, double otherwise) throws FileFormatException {
    return has(field) ? number(field) : otherwise;
  }

  /** Returns true or false. */
  public boolean bool(String field) throws FileFormatException {
    JsonNode value = required(field, "true or false");
    if (!value.isBoolean()) {
      throw wrong(field, value, "true or false");
    }
    return value.booleanValue();
  }

  /** Returns true or false, or the default. */
  public boolean bool(String field, boolean otherwise) throws FileFormatException {
    return has(field) ? bool(field) : otherwise;
  }

  /** Returns an object. */
  public StrictJson object(String field) throws FileFormatException {
    return object(required(field, "an object {...}"), field);
  }

  /** Returns an object, or nothing where the field is absent or null. */
  public Optional<StrictJson> optionalObject(String field) throws FileFormatException {
    return has(field) ? Optional.of(object(field)) : Optional.empty();
  }

  /** Returns a list of objects. */
  public List<StrictJson> objects(String field) throws FileFormatException {
    List<StrictJson> result = new ArrayList<>();
    for (JsonNode element : list(field, "a list of objects")) {
      result.add(object(element, field + "[" + result.size() + "]"));
    }
    return result;
  }

  /** Returns a list of strings. */
  public List<String> strings(String field) throws FileFormatException {
    List<String> result = new ArrayList<>();
    for (JsonNode element : list(field, "a list of strings")) {
      result.add(string(element, field + "[" + result.size() + "]"));
    }
    return result;
  }

  /** Returns a list of whole numbers, each in [min, max]. */
  public List<Integer> integers(String field, int min, int max) throws FileFormatException {
    List<Integer> result = new ArrayList<>();
    for (JsonNode element : list(field, "a list of whole numbers")) {
      result.add(integer(element, field + "[" + result.size() + "]", min, max));
    }
    return result;
  }

  /** Returns whether the field is a list. */
  public boolean isList(String field) {
    return node.path(field).isArray();
  }

  /** Returns an exception {@code FILE: FIELD problem}, for checks that a caller makes itself. */
  public FileFormatException error(String field, String problem) {
    return new FileFormatException(where, prefix + field + " " + problem);
  }

  private JsonNode required(String field, String expected) throws FileFormatException {
    JsonNode value = node.get(field);
    if (value == null) {
      throw error(field, "is missing, expected " + expected);
    }
    return value;
  }

  private JsonNode list(String field, String expected) throws FileFormatException {
    JsonNode value = required(field, expected);
    if (!value.isArray()) {
      throw wrong(field, value, expected);
    }
    return value;
  }

  private String string(JsonNode value, String field) throws FileFormatException {
    if (!value.isTextual()) {
      throw wrong(field, value, "a string");
    }
    return value.textValue();
  }

  private int integer(JsonNode value, String field, int min, int max) throws FileFormatException {
    if (!value.isIntegralNumber()
        || !value.canConvertToInt()
        || value.intValue() < min
        || value.intValue() > max) {
      throw wrong(field, value, range(min, max));
    }
    return value.intValue();
  }

  private StrictJson object(JsonNode value, String field) throws FileFormatException {
    if (!(value instanceof ObjectNode object)) {
      throw wrong(field, value, "an object {...}");
    }
    return new StrictJson(where, prefix + field + ".", object);
  }

  private FileFormatException wrong(String field, JsonNode value, String expected) {
    return error(field, "is " + kind(value) + ", expected " + expected);
  }

  private static String range(long min, long max) {
    if (max == Integer.MAX_VALUE || max == Long.MAX_VALUE) {
      return "a whole number of at least " + min;
    }
    return "a whole number from " + min + " to " + max;
  }

  /** Returns the value and its type for a message. */
  private static String kind(JsonNode value) {
    String text = value.toString();
    String shown = text.length() > MAX_SHOWN ? text.substring(0, MAX_SHOWN) + "..." : text;
    return switch (value.getNodeType()) {
      case NULL, MISSING -> "null";
      case STRING -> "the string " + shown;
      case NUMBER, BOOLEAN -> shown;
      case ARRAY -> "the list " + shown;
      default -> "the object " + shown;
    };
  }
}
