package io.rora.config;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.files.FileFormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.function.Executable;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class StrictJsonTest {
  @TempDir Path directory;

  private static StrictJson parse(String text) throws FileFormatException {
    return StrictJson.parse("c.json", text.replace('\'', '"'));
  }

  private static void refused(String part, Executable action) {
    String message = assertThrows(FileFormatException.class, action).getMessage();
    assertTrue(message.startsWith("c.json: ") && message.contains(part), message);
    assertFalse(message.contains("\n"), message);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{'a': 1, 'a': 2} | Duplicate field",
        "{'a': {'b': 1, 'b': 1}} | Duplicate field",
        "{'a': 1 | line 1",
        "{'a': 1} {'b': 2} | is not valid JSON",
        "[1] | holds the list [1]",
        "3 | holds 3, expected a JSON object",
        "{'a': NaN} | is not valid JSON",
        "{a: 1} | is not valid JSON",
        "{'a': 1,} | is not valid JSON",
        "{'a': 1e} | is not valid JSON"
      })
  void malformedTextIsRefused(String text, String part) {
    refused(part, () -> parse(text));
  }

  @Test
  void emptyTextIsRefused() {
    refused("expected a JSON object", () -> parse(""));
  }

  @Test
  void deepNestingIsRefused() {
    refused(
        "nesting depth", () -> parse("{'a':" + "[".repeat(100_000) + "]".repeat(100_000) + "}"));
  }

  @Test
  void longNumbersAreRefused() {
    refused("is not valid JSON", () -> parse("{'a':" + "1".repeat(10_000) + "}"));
  }

  @Test
  void gettersNameFieldFoundAndExpected() throws FileFormatException {
    StrictJson json =
        parse(
            "{'s': 'x', 'f': 1.5, 'n': null, 'big': 99999999999, 'o': {'i': true}, 'l': [1, 'x']}");
    refused(
        "s is the string \"x\", expected a whole number from 1 to 9",
        () -> json.integer("s", 1, 9));
    refused(
        "f is 1.5, expected a whole number of at least 0",
        () -> json.integer("f", 0, Integer.MAX_VALUE));
    refused("big is 99999999999, expected", () -> json.integer("big", 0, Integer.MAX_VALUE));
    refused("missing is missing, expected a string", () -> json.string("missing"));
    refused("n is null, expected a number", () -> json.number("n"));
    refused("o.i is true, expected a string", () -> json.object("o").string("i"));
    refused("l[1] is the string \"x\"", () -> json.integers("l", 0, 9));
    refused("l[0] is 1, expected a string", () -> json.strings("l"));
    refused("s is the string \"x\", expected an object", () -> json.object("s"));
    refused("f is 1.5, expected true or false", () -> json.bool("f"));
    assertEquals(99999999999L, json.longInteger("big", 0, Long.MAX_VALUE));
    assertEquals(7, json.integer("n", 0, 9, 7));
    assertEquals(1.5, json.number("f", 2));
    assertTrue(json.object("o").bool("i", false));
    assertTrue(json.contains("n") && !json.has("n"));
    assertEquals(List.of("big", "f", "l", "n", "o", "s"), List.copyOf(json.fields()));
  }

  @Test
  void hugeNumbersAreNotFinite() throws FileFormatException {
    StrictJson json = parse("{'a': 1e999}");
    refused("a is", () -> json.number("a"));
  }

  @Test
  void filesThatAreNotUtf8AreRefusedWithThePlace() throws IOException {
    Path file =
        Files.write(
            directory.resolve("c.json"), new byte[] {'{', '"', (byte) 0xff, '"', ':', '1', '}'});
    String message =
        assertThrows(FileFormatException.class, () -> StrictJson.read(file)).getMessage();
    assertTrue(message.contains("is not UTF-8 text: wrong at byte 2"), message);
  }

  @Test
  void filesThatAreTooLargeAreRefused() throws IOException {
    Path file = Files.writeString(directory.resolve("c.json"), "{\"a\": 123456}");
    String message =
        assertThrows(FileFormatException.class, () -> StrictJson.read(file, 5)).getMessage();
    assertTrue(message.contains("has 13 bytes, at most 5"), message);
  }

  @Test
  void aByteOrderMarkIsSkipped() throws IOException {
    Path file = Files.writeString(directory.resolve("c.json"), "\ufeff{\"a\": 1}");
    assertEquals(1, StrictJson.read(file).integer("a", 0, 9));
  }
}
