package io.rora.gguf;

import io.rora.files.FileFormatException;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The keys and values at the head of a GGUF file. Getters that fail name the file, the key, what
 * was found and what is expected.
 */
public final class GgufMetadata {
  private static final int MAX_KEYS = 1 << 16;
  private static final int MAX_ARRAY = 1 << 24;
  private static final int MAX_NESTING = 4;
  private static final int ARRAY = 9;
  private static final int STRING = 8;

  /** Sizes in bytes of the types by number; strings and arrays have at least their lengths. */
  private static final int[] MIN_BYTES = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

  private final Path file;
  private final Map<String, Object> values = new LinkedHashMap<>();

  private GgufMetadata(Path file) {
    this.file = file;
  }

  /**
   * Reads {@code count} pairs; whole numbers become Long, floats Double, lists long[], float[],
   * double[] or List.
   */
  static GgufMetadata read(Path file, GgufCursor cursor, int count) throws IOException {
    GgufMetadata metadata = new GgufMetadata(file);
    for (int i = 0; i < count; i++) {
      String key = cursor.readString("metadata key " + i);
      int type = cursor.readInt("the type of " + key);
      if (metadata.values.put(key, readValue(cursor, type, "the value of " + key, 0)) != null) {
        throw cursor.fail("the metadata key " + key + " stands there twice");
      }
    }
    return metadata;
  }

  static int readCount(GgufCursor cursor) throws IOException {
    return cursor.readCount("the number of metadata keys", 13, MAX_KEYS);
  }

  private static Object readValue(GgufCursor cursor, int type, String what, int depth)
      throws IOException {
    return switch (type) {
      case 0 -> (long) (cursor.readByte(what) & 0xff);
      case 1 -> (long) cursor.readByte(what);
      case 2 -> (long) (cursor.readShort(what) & 0xffff);
      case 3 -> (long) cursor.readShort(what);
      case 4 -> Integer.toUnsignedLong(cursor.readInt(what));
      case 5 -> (long) cursor.readInt(what);
      case 6 -> (double) Float.intBitsToFloat(cursor.readInt(what));
      case 7 -> readBool(cursor, what);
      case STRING -> cursor.readString(what);
      case ARRAY -> readArray(cursor, what, depth + 1);
      case 10, 11 -> cursor.readLong(what);
      case 12 -> Double.longBitsToDouble(cursor.readLong(what));
      default ->
          throw cursor.fail(what + " has the unknown type " + Integer.toUnsignedString(type));
    };
  }

  private static boolean readBool(GgufCursor cursor, String what) throws IOException {
    int value = cursor.readByte(what);
    if (value != 0 && value != 1) {
      throw cursor.fail(what + " is the byte " + value + ", expected true (1) or false (0)");
    }
    return value == 1;
  }

  private static Object readArray(GgufCursor cursor, String what, int depth) throws IOException {
    if (depth > MAX_NESTING) {
      throw cursor.fail(what + " has lists nested more than " + MAX_NESTING + " deep");
    }
    int type = cursor.readInt(what);
    if (type < 0 || type >= MIN_BYTES.length) {
      throw cursor.fail(what + " is a list of the unknown type " + Integer.toUnsignedString(type));
    }
    int count = cursor.readCount("the length of " + what, MIN_BYTES[type], MAX_ARRAY);
    if (type == STRING || type == ARRAY) {
      List<Object> list = new ArrayList<>();
      for (int i = 0; i < count; i++) {
        list.add(readValue(cursor, type, what, depth));
      }
      return Collections.unmodifiableList(list);
    }
    return type == 6 || type == 12
        ? readDoubles(cursor, type, count, what, depth)
        : readLongs(cursor, type, count, what, depth);
  }

  private static double[] readDoubles(
      GgufCursor cursor, int type, int count, String what, int depth) throws IOException {
    double[] numbers = new double[count];
    for (int i = 0; i < count; i++) {
      numbers[i] = (Double) readValue(cursor, type, what, depth);
    }
    return numbers;
  }

  private static long[] readLongs(GgufCursor cursor, int type, int count, String what, int depth)
      throws IOException {
    long[] numbers = new long[count];
    for (int i = 0; i < count; i++) {
      Object value = readValue(cursor, type, what, depth);
      numbers[i] = value instanceof Boolean flag ? (flag ? 1 : 0) : (Long) value;
    }
    return numbers;
  }

  // ---- getters ----

  /** Returns the keys in the order of the file. */
  public Set<String> keys() {
    return Collections.unmodifiableSet(values.keySet());
  }

  /** Returns whether there is such a key. */
  public boolean has(String key) {
    return values.containsKey(key);
  }

  /** Returns whether the key's value is a list. */
  public boolean isList(String key) {
    Object value = values.get(key);
    return value instanceof long[] || value instanceof double[] || value instanceof List;
  }

  /** Returns a string. */
  public String string(String key) throws FileFormatException {
    return value(key, String.class, "a string");
  }

  /** Returns a string, or the default where the key is absent. */
  public String string(String key, String otherwise) throws FileFormatException {
    return has(key) ? string(key) : otherwise;
  }

  /** Returns a whole number in [min, max]. */
  public int integer(String key, int min, int max) throws FileFormatException {
    long value = value(key, Long.class, "a whole number");
    return checked(key, value, min, max);
  }

  /** Returns a whole number in [min, max], or the default where the key is absent. */
  public int integer(String key, int min, int max, int otherwise) throws FileFormatException {
    return has(key) ? integer(key, min, max) : otherwise;
  }

  /** Returns a finite number, whole or not. */
  public double number(String key) throws FileFormatException {
    Number value = value(key, Number.class, "a number");
    if (!Double.isFinite(value.doubleValue())) {
      throw error(key, "is " + value + ", expected a finite number");
    }
    return value.doubleValue();
  }

  /** Returns a finite number, or the default where the key is absent. */
  public double number(String key, double otherwise) throws FileFormatException {
    return has(key) ? number(key) : otherwise;
  }

  /** Returns true or false, or the default where the key is absent. */
  public boolean bool(String key, boolean otherwise) throws FileFormatException {
    return has(key) ? value(key, Boolean.class, "true or false") : otherwise;
  }

  /** Returns a list of strings. */
  public List<String> strings(String key) throws FileFormatException {
    List<?> list = value(key, List.class, "a list of strings");
    List<String> strings = new ArrayList<>(list.size());
    for (Object element : list) {
      if (!(element instanceof String string)) {
        throw error(key, "is not a list of strings");
      }
      strings.add(string);
    }
    return strings;
  }

  /** Returns a list of whole numbers, each in [min, max]. */
  public int[] integers(String key, int min, int max) throws FileFormatException {
    long[] list = value(key, long[].class, "a list of whole numbers");
    int[] integers = new int[list.length];
    for (int i = 0; i < list.length; i++) {
      integers[i] = checked(key + "[" + i + "]", list[i], min, max);
    }
    return integers;
  }

  /** Returns a list of numbers. */
  public float[] floats(String key) throws FileFormatException {
    double[] list = value(key, double[].class, "a list of numbers");
    float[] floats = new float[list.length];
    for (int i = 0; i < list.length; i++) {
      floats[i] = (float) list[i];
    }
    return floats;
  }

  /** Returns a key's value for people to read, long ones cut short. */
  public String show(String key) {
    Object value = values.get(key);
    if (value instanceof long[] list) {
      return "list of " + list.length + " whole numbers";
    }
    if (value instanceof double[] list) {
      return "list of " + list.length + " numbers";
    }
    return value instanceof List<?> list ? "list of " + list.size() : String.valueOf(value);
  }

  /**
   * Returns an exception {@code FILE: the metadata key KEY problem}, for checks that a caller makes
   * itself.
   */
  public FileFormatException error(String key, String problem) {
    return new FileFormatException(file, "the metadata key " + key + " " + problem);
  }

  private <T> T value(String key, Class<T> type, String expected) throws FileFormatException {
    Object value = values.get(key);
    if (value == null) {
      throw error(key, "is missing, expected " + expected);
    }
    if (!type.isInstance(value)) {
      throw error(key, "is " + show(key) + ", expected " + expected);
    }
    return type.cast(value);
  }

  private int checked(String key, long value, int min, int max) throws FileFormatException {
    if (value < min || value > max) {
      throw error(
          key,
          "is "
              + value
              + ", expected a whole number "
              + (max == Integer.MAX_VALUE ? "of at least " + min : "from " + min + " to " + max));
    }
    return (int) value;
  }
}
