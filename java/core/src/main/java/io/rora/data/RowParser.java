package io.rora.data;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonToken;
import io.rora.files.FileFormatException;
import java.io.IOException;
import java.util.EnumMap;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** Reads one row from a JSON parser that stands at its beginning. */
final class RowParser {
  private static final String ALL_KINDS = "instruction and output, prompt and completion, or text";

  /** The fields that mean something, by their lower case names. */
  private enum Field {
    INSTRUCTION,
    INPUT,
    OUTPUT,
    ANSWER,
    PROMPT,
    COMPLETION,
    TEXT;

    static Field named(String name) {
      for (Field field : values()) {
        if (field.key().equals(name)) {
          return field;
        }
      }
      return null;
    }

    String key() {
      return name().toLowerCase(Locale.ROOT);
    }
  }

  private final JsonParser parser;
  private final Row.Place place;
  private final Map<Field, String> values = new EnumMap<>(Field.class);

  RowParser(JsonParser parser, Row.Place place) {
    this.parser = parser;
    this.place = place;
  }

  /**
   * Reads the row up to its closing brace.
   *
   * @param first the token at which the parser stands
   */
  Row row(JsonToken first) throws IOException {
    if (first != JsonToken.START_OBJECT) {
      throw error("is " + describe(first) + ", expected an object {...} with " + ALL_KINDS);
    }
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      Field field = Field.named(parser.currentName());
      JsonToken value = parser.nextToken();
      if (field == null) {
        parser.skipChildren();
      } else if (value != JsonToken.VALUE_NULL) {
        values.put(field, text(field, value));
      }
    }
    return row();
  }

  private String text(Field field, JsonToken value) throws IOException {
    if (value != JsonToken.VALUE_STRING) {
      throw error(field.key() + " is " + describe(value) + ", expected a string");
    }
    String text = parser.getText();
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (Character.isSurrogate(c)) {
        boolean pair = i + 1 < text.length() && Character.isSurrogatePair(c, text.charAt(i + 1));
        if (!pair) {
          throw error(
              field.key()
                  + " has half a surrogate pair at character "
                  + i
                  + ", which is not Unicode text");
        }
        i++;
      }
    }
    return text;
  }

  private Row row() throws FileFormatException {
    boolean instruction = values.containsKey(Field.INSTRUCTION);
    boolean completion = values.containsKey(Field.PROMPT) || values.containsKey(Field.COMPLETION);
    boolean text = values.containsKey(Field.TEXT);
    if ((instruction && (completion || text)) || (completion && text)) {
      throw error(
          "has fields of more than one kind "
              + values.keySet().stream().map(Field::key).toList()
              + ": keep those of one, "
              + ALL_KINDS);
    }
    if (text) {
      return new Row.Text(place, values.get(Field.TEXT));
    }
    if (completion) {
      return new Row.Completion(place, required(Field.PROMPT), required(Field.COMPLETION));
    }
    if (!instruction && values.isEmpty()) {
      throw error("has none of the fields that make a row: " + ALL_KINDS);
    }
    return instruction();
  }

  private Row instruction() throws FileFormatException {
    String instruction = required(Field.INSTRUCTION);
    Optional<String> answer = Optional.ofNullable(values.get(Field.ANSWER));
    Optional<String> output =
        answer.isPresent()
            ? Optional.ofNullable(values.get(Field.OUTPUT))
            : Optional.of(required(Field.OUTPUT));
    return new Row.Instruction(
        place, instruction, values.getOrDefault(Field.INPUT, ""), output, answer);
  }

  private String required(Field field) throws FileFormatException {
    String value = values.get(field);
    if (value == null) {
      throw error("has no " + field.key() + ": a row has " + ALL_KINDS);
    }
    return value;
  }

  private FileFormatException error(String problem) {
    return new FileFormatException(place.toString(), problem);
  }

  private static String describe(JsonToken token) {
    return switch (token) {
      case START_OBJECT -> "an object";
      case START_ARRAY -> "a list";
      case VALUE_STRING -> "a string";
      case VALUE_NUMBER_INT, VALUE_NUMBER_FLOAT -> "a number";
      case VALUE_TRUE, VALUE_FALSE -> "true or false";
      case VALUE_NULL -> "null";
      default -> "not a value";
    };
  }
}
