package io.rora.data;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.StreamReadConstraints;
import com.fasterxml.jackson.core.StreamReadFeature;
import io.rora.files.FileFormatException;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.Reader;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;

/**
 * Reads data files: a JSON list of objects, or objects one after another as in JSONL. A file is
 * read once, as a stream, row by row; nothing but the rows is kept.
 *
 * <p>A row has the fields of one {@link Row.Kind}, all strings; {@code input} and {@code answer}
 * may be null or absent, {@code output} too where there is an {@code answer}; other fields are
 * passed over. What is not so is refused with the file and the number of the row, from 1.
 */
public final class RowReader {
  /** Longer strings are refused: no row of text is so long. */
  static final int MAX_STRING_LENGTH = 64 << 20;

  private static final int MAX_DEPTH = 64;
  private static final int BYTE_ORDER_MARK = 0xFEFF;

  private final JsonFactory factory =
      JsonFactory.builder()
          .streamReadConstraints(
              StreamReadConstraints.builder()
                  .maxNestingDepth(MAX_DEPTH)
                  .maxStringLength(MAX_STRING_LENGTH)
                  .build())
          .disable(StreamReadFeature.AUTO_CLOSE_SOURCE) // the rest is still to be hashed
          .enable(StreamReadFeature.STRICT_DUPLICATE_DETECTION)
          .disable(StreamReadFeature.AUTO_CLOSE_SOURCE)
          .build();
  private final List<Row> rows = new ArrayList<>();
  private final List<DataSet.DataFile> files = new ArrayList<>();

  private RowReader() {}

  /**
   * Reads all rows of some files, in order.
   *
   * @throws FileFormatException if a file is not such a list of rows, has none, or its rows are of
   *     another kind than those before
   */
  public static DataSet read(List<Path> files) throws IOException {
    if (files.isEmpty()) {
      throw new IllegalArgumentException("no data files are named: name at least one");
    }
    RowReader reader = new RowReader();
    for (Path file : files) {
      reader.readFile(file);
    }
    return new DataSet(reader.rows, reader.files);
  }

  /** Reads the files of a list such as {@code a.json,b.jsonl}. */
  public static DataSet read(String commaSeparated) throws IOException {
    List<Path> files = new ArrayList<>();
    for (String name : commaSeparated.split(",", -1)) {
      if (name.isBlank()) {
        throw new IllegalArgumentException(
            "\"" + commaSeparated + "\" has an empty file name: separate names by single commas");
      }
      files.add(Path.of(name.strip()));
    }
    return read(files);
  }

  private void readFile(Path file) throws IOException {
    if (Files.isDirectory(file)) {
      throw new FileFormatException(file, "is a directory: name a JSON or JSONL file of rows");
    }
    int before = rows.size();
    MessageDigest digest = sha256();
    try (InputStream in = new DigestInputStream(Files.newInputStream(file), digest)) {
      readRows(file, in);
      in.transferTo(OutputStream.nullOutputStream());
    } catch (NoSuchFileException e) {
      throw new FileFormatException(file, "there is no such file");
    }
    int count = rows.size() - before;
    if (count == 0) {
      throw new FileFormatException(file, "has no rows: it must have at least one");
    }
    files.add(new DataSet.DataFile(file, HexFormat.of().formatHex(digest.digest()), count));
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java platform has SHA-256", e);
    }
  }

  private void readRows(Path file, InputStream in) throws IOException {
    Reader text =
        new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8.newDecoder()), 1 << 16);
    int number = 1;
    try (JsonParser parser = factory.createParser(withoutMark(text))) {
      JsonToken token = parser.nextToken();
      boolean list = token == JsonToken.START_ARRAY;
      if (list) {
        token = parser.nextToken();
      }
      while (token != null && token != JsonToken.END_ARRAY) {
        add(new RowParser(parser, new Row.Place(file, number)).row(token));
        number++;
        token = parser.nextToken();
      }
      if (list && parser.nextToken() != null) {
        throw new FileFormatException(file, "has something after the end of its list of rows");
      }
    } catch (JsonProcessingException e) {
      throw notJson(file, number, e);
    } catch (CharacterCodingException e) {
      throw new FileFormatException(new Row.Place(file, number).toString(), "is not UTF-8 text");
    }
  }

  private static Reader withoutMark(Reader text) throws IOException {
    text.mark(1);
    if (text.read() != BYTE_ORDER_MARK) {
      text.reset();
    }
    return text;
  }

  private static FileFormatException notJson(Path file, int number, JsonProcessingException e) {
    String message = e.getOriginalMessage().lines().findFirst().orElse("");
    String place =
        e.getLocation() == null
            ? ""
            : " (line "
                + e.getLocation().getLineNr()
                + ", column "
                + e.getLocation().getColumnNr()
                + ")";
    return new FileFormatException(
        new Row.Place(file, number).toString(), "is not valid JSON: " + message + place);
  }

  private void add(Row row) throws FileFormatException {
    if (!rows.isEmpty() && rows.get(0).kind() != row.kind()) {
      throw new FileFormatException(
          row.place().toString(),
          "has the fields "
              + row.kind().fields()
              + ", but "
              + rows.get(0).place()
              + " has "
              + rows.get(0).kind().fields()
              + ": all rows must be of one kind");
    }
    rows.add(row);
  }
}
