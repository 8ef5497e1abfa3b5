package io.rora.data;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.files.FileFormatException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class RowReaderTest {
  private static final String TEXT_ROW = "{\"text\": \"a\"}";

  @TempDir Path folder;

  private Path file(String name, String text) throws IOException {
    return Files.writeString(folder.resolve(name), text);
  }

  private String failure(String text) throws IOException {
    Path file = file("rows.json", text);
    FileFormatException e =
        assertThrows(FileFormatException.class, () -> RowReader.read(List.of(file)));
    assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
    assertEquals(1, e.getMessage().lines().count(), e.getMessage());
    return e.getMessage();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "[{\"text\":\"a\"},{\"text\":\"b\"}]",
        "{\"text\":\"a\"}\n{\"text\":\"b\"}",
        "{\"text\":\"a\"}\r\n\r\n{\"text\":\"b\"}\n\n",
        "\ufeff[{\"text\":\"a\"},{\"text\":\"b\", \"id\": {\"x\": [1, null]}}]\n",
        "\n\n {\"text\":\n\"a\"} {\"text\":\"b\"}"
      })
  void listsAndLinesAreRead(String text) throws IOException {
    DataSet data = RowReader.read(List.of(file("rows", text)));
    assertEquals(List.of("a", "b"), data.rows().stream().map(r -> ((Row.Text) r).text()).toList());
    assertEquals(2, data.rows().get(1).place().number());
    assertEquals(Row.Kind.TEXT, data.kind());
  }

  @Test
  void allKindsOfFieldsAreRead() throws IOException {
    Path file =
        file(
            "i.json",
            "[{\"instruction\":\"i\",\"input\":null,\"output\":\"o\",\"answer\":\"a\"},"
                + "{\"instruction\":\"i\",\"answer\":\"a\"}]");
    List<Row> rows = RowReader.read(List.of(file)).rows();
    assertEquals(
        new Row.Instruction(new Row.Place(file, 1), "i", "", Optional.of("o"), Optional.of("a")),
        rows.get(0));
    assertEquals(Optional.empty(), ((Row.Instruction) rows.get(1)).output());
    Path other = file("c.json", "[{\"prompt\":\"p\",\"completion\":\"\"}]");
    assertEquals(
        new Row.Completion(new Row.Place(other, 1), "p", ""),
        RowReader.read(List.of(other)).rows().get(0));
  }

  @Test
  void filesFollowEachOtherAndKnowTheirHashes() throws IOException {
    Path first = file("a.json", "[" + TEXT_ROW + "]  \n");
    Path second = file("b.jsonl", TEXT_ROW + "\n" + TEXT_ROW);
    DataSet data = RowReader.read(first + "," + second);
    assertEquals(3, data.rows().size());
    assertEquals(new Row.Place(second, 2), data.rows().get(2).place());
    assertEquals(List.of(1, 2), data.files().stream().map(DataSet.DataFile::rows).toList());
    assertEquals(sha256(first), data.files().get(0).sha256());
    assertEquals(sha256(second), data.files().get(1).sha256());
  }

  private static String sha256(Path file) throws IOException {
    try {
      byte[] digest =
          java.security.MessageDigest.getInstance("SHA-256").digest(Files.readAllBytes(file));
      return java.util.HexFormat.of().formatHex(digest);
    } catch (java.security.NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      quoteCharacter = '`',
      value = {
        "``; no rows",
        "[]; no rows",
        "[{\"text\":\"a\"}; row 2",
        "[{\"text\":\"a\"},{\"te; row 2",
        "[{\"text\":\"a\"}] x; row 2",
        "[{\"text\":\"a\"}][]; after the end",
        "[{\"text\":\"a\"},7]; row 2: is a number",
        "[[{\"text\":\"a\"}]]; row 1: is a list",
        "[{\"text\":7}]; row 1: text is a number",
        "[{\"text\":null}]; row 1: has none of the fields",
        "[{\"instruction\":\"a\"}]; row 1: has no output",
        "[{\"output\":\"a\"}]; row 1: has no instruction",
        "[{\"prompt\":\"a\"}]; row 1: has no completion",
        "[{\"prompt\":\"a\",\"completion\":\"b\",\"text\":\"c\"}]; more than one kind",
        "[{\"text\":\"a\"},{\"prompt\":\"a\",\"completion\":\"b\"}]; row 2: has the fields prompt",
        "[{\"text\":\"a\",\"text\":\"b\"}]; row 1: is not valid JSON: Duplicate",
        "[{\"text\":\"\\ud800x\"}]; row 1: text has half a surrogate pair",
        "hello; row 1: is not valid JSON"
      })
  void wrongRowsAreRefusedByNumber(String text, String part) throws IOException {
    String message = failure(text);
    assertTrue(message.contains(part), message + " lacks \"" + part + "\"");
  }

  @Test
  void rowsOfAnotherKindInASecondFileAreRefused() throws IOException {
    Path first = file("a.json", TEXT_ROW);
    Path second = file("b.json", "{\"prompt\":\"p\",\"completion\":\"c\"}");
    FileFormatException e =
        assertThrows(FileFormatException.class, () -> RowReader.read(first + "," + second));
    assertTrue(e.getMessage().startsWith(second + ": row 1"), e.getMessage());
    assertTrue(e.getMessage().contains(first + ": row 1"), e.getMessage());
  }

  @Test
  void hostileFilesAreRefused() throws IOException {
    assertTrue(failure("[".repeat(100_000)).contains("row 1"));
    assertTrue(failure("[{\"x\":" + "[".repeat(100_000)).contains("row 1"));
    assertTrue(failure("[{\"x\":" + "9".repeat(100_000) + "}]").contains("row 1"));
    Path file = folder.resolve("latin");
    Files.write(file, "[{\"text\":\"na\u00efve\"}]".getBytes(StandardCharsets.ISO_8859_1));
    FileFormatException e =
        assertThrows(FileFormatException.class, () -> RowReader.read(List.of(file)));
    assertTrue(e.getMessage().contains("row 1: is not UTF-8"), e.getMessage());
  }

  @Test
  void missingFilesAndEmptyNamesAreRefused() {
    assertThrows(
        FileFormatException.class, () -> RowReader.read(folder.resolve("none").toString()));
    assertThrows(FileFormatException.class, () -> RowReader.read(List.of(folder)));
    assertThrows(IllegalArgumentException.class, () -> RowReader.read("a.json,,b.json"));
    assertThrows(IllegalArgumentException.class, () -> RowReader.read(List.of()));
  }
}
