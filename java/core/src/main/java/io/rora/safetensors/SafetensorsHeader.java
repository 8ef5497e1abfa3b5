package io.rora.safetensors;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import io.rora.files.FileFormatException;
import java.io.IOException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Reads the JSON header of a safetensors file token by token, so that a hostile one cannot ask for
 * much memory.
 */
final class SafetensorsHeader {
  private static final int MAX_TENSORS = 1 << 18;
  private static final int MAX_DIMENSIONS = 16;

  private final String where;
  private final JsonParser parser;
  private final Map<String, String> metadata = new LinkedHashMap<>();
  private final Map<String, TensorInfo> byName = new LinkedHashMap<>();

  private SafetensorsHeader(String where, JsonParser parser) {
    this.where = where;
    this.parser = parser;
  }

  /**
   * Parses and checks a header.
   *
   * @param where the file, for messages
   * @param dataBytes how many bytes follow the header; the tensors must fill them exactly
   */
  static SafetensorsHeader parse(String where, String json, long dataBytes) throws IOException {
    StreamReadConstraints limits =
        StreamReadConstraints.builder().maxNestingDepth(4).maxNumberLength(30).build();
    JsonFactory factory =
        JsonFactory.builder()
            .streamReadConstraints(limits)
            .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
            .build();
    try (JsonParser parser = factory.createParser(json)) {
      SafetensorsHeader header = new SafetensorsHeader(where, parser);
      header.readObject();
      header.checkLayout(dataBytes);
      return header;
    } catch (JsonProcessingException e) {
      throw new FileFormatException(
          where,
          "the header is not valid JSON: " + e.getOriginalMessage().lines().findFirst().orElse(""));
    }
  }

  Map<String, String> metadata() {
    return metadata;
  }

  /** Returns the tensors by name, in the order of their bytes in the file. */
  Map<String, TensorInfo> tensors() {
    return byName;
  }

  private void readObject() throws IOException {
    expect(parser.nextToken(), JsonToken.START_OBJECT, "the header", "an object");
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String name = parser.currentName();
      parser.nextToken();
      if (name.equals("__metadata__")) {
        readMetadata();
      } else if (byName.size() == MAX_TENSORS) {
        throw fail("the header lists more than " + MAX_TENSORS + " tensors");
      } else {
        byName.put(name, readTensor(name));
      }
    }
    if (parser.nextToken() != null) {
      throw fail("the header goes on after its JSON object");
    }
  }

  private void readMetadata() throws IOException {
    expect(parser.currentToken(), JsonToken.START_OBJECT, "__metadata__", "an object");
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String key = parser.currentName();
      expect(parser.nextToken(), JsonToken.VALUE_STRING, "__metadata__." + key, "a string");
      metadata.put(key, parser.getText());
    }
  }

  private TensorInfo readTensor(String name) throws IOException {
    expect(parser.currentToken(), JsonToken.START_OBJECT, quote(name), "an object");
    String type = null;
    long[] shape = null;
    long[] offsets = null;
    while (parser.nextToken() == JsonToken.FIELD_NAME) {
      String field = parser.currentName();
      JsonToken token = parser.nextToken();
      switch (field) {
        case "dtype" -> {
          expect(token, JsonToken.VALUE_STRING, quote(name) + " dtype", "a string");
          type = parser.getText();
        }
        case "shape" -> shape = readSizes(quote(name) + " shape");
        case "data_offsets" -> offsets = readSizes(quote(name) + " data_offsets");
        default -> throw fail(quote(name) + " has the unknown field " + quote(field));
      }
    }
    if (type == null || shape == null || offsets == null) {
      throw fail(quote(name) + " lacks one of dtype, shape and data_offsets");
    }
    if (offsets.length != 2) {
      throw fail(quote(name) + " data_offsets has " + offsets.length + " numbers, expected 2");
    }
    return checked(name, type, shape, offsets);
  }

  private long[] readSizes(String what) throws IOException {
    expect(parser.currentToken(), JsonToken.START_ARRAY, what, "a list");
    List<Long> sizes = new ArrayList<>();
    while (parser.nextToken() != JsonToken.END_ARRAY) {
      if (parser.currentToken() != JsonToken.VALUE_NUMBER_INT
          || parser.getNumberType() == JsonParser.NumberType.BIG_INTEGER
          || parser.getLongValue() < 0) {
        throw fail(
            what + " holds " + parser.getText() + ", expected whole numbers from 0 to 2^63 - 1");
      }
      if (sizes.size() == MAX_DIMENSIONS) {
        throw fail(what + " has more than " + MAX_DIMENSIONS + " numbers");
      }
      sizes.add(parser.getLongValue());
    }
    return sizes.stream().mapToLong(Long::longValue).toArray();
  }

  private TensorInfo checked(String name, String typeName, long[] shape, long[] offsets)
      throws IOException {
    SafetensorsType type =
        Arrays.stream(SafetensorsType.values())
            .filter(t -> t.name().equals(typeName))
            .findFirst()
            .orElse(null);
    if (type == null) {
      throw fail(
          quote(name)
              + " has the unknown dtype "
              + quote(typeName)
              + "; weights are read from F32, F16 and BF16");
    }
    if (offsets[1] < offsets[0]) {
      throw fail(
          quote(name) + " ends at byte " + offsets[1] + ", before it begins at " + offsets[0]);
    }
    long bits;
    try {
      bits = type.bits();
      for (long size : shape) {
        bits = Math.multiplyExact(bits, size);
      }
    } catch (ArithmeticException e) {
      throw fail(
          quote(name)
              + " has shape "
              + Arrays.toString(shape)
              + ": more elements than a file can hold");
    }
    if (bits % 8 != 0 || bits / 8 != offsets[1] - offsets[0]) {
      throw fail(
          quote(name)
              + " of shape "
              + Arrays.toString(shape)
              + " and dtype "
              + type
              + " needs "
              + (bits + 7) / 8
              + " bytes, its data_offsets give "
              + (offsets[1] - offsets[0]));
    }
    return new TensorInfo(
        name, type, Arrays.stream(shape).boxed().toList(), offsets[0], offsets[1]);
  }

  /** The tensors must fill the data without holes and without overlaps. */
  private void checkLayout(long dataBytes) throws FileFormatException {
    List<TensorInfo> inOrder = new ArrayList<>(byName.values());
    inOrder.sort(Comparator.comparingLong(TensorInfo::begin).thenComparingLong(TensorInfo::end));
    long end = 0;
    for (TensorInfo tensor : inOrder) {
      if (tensor.begin() != end) {
        throw fail(
            quote(tensor.name())
                + " begins at byte "
                + tensor.begin()
                + " of the data, expected "
                + end
                + ": tensors must follow each other without "
                + (tensor.begin() > end ? "holes" : "overlaps"));
      }
      end = tensor.end();
    }
    if (end != dataBytes) {
      throw fail(
          "the header describes "
              + end
              + " bytes of data, the file has "
              + dataBytes
              + (end > dataBytes
                  ? ": it was cut short, fetch it again"
                  : ": it has grown or is damaged, fetch it again"));
    }
    byName.clear();
    inOrder.forEach(tensor -> byName.put(tensor.name(), tensor));
  }

  private void expect(JsonToken found, JsonToken wanted, String what, String expected)
      throws IOException {
    if (found != wanted) {
      throw fail(
          what
              + " is "
              + (found == null ? "missing" : parser.getText())
              + ", expected "
              + expected);
    }
  }

  private FileFormatException fail(String problem) {
    return new FileFormatException(where, problem);
  }

  private static String quote(String name) {
    return "\"" + (name.length() > 200 ? name.substring(0, 200) + "..." : name) + "\"";
  }
}
