package io.rora.data;

import java.nio.file.Path;
import java.util.List;

/**
 * The rows of one or more data files, in their order.
 *
 * @param rows at least one, all of one kind
 * @param files where they came from
 */
public record DataSet(List<Row> rows, List<DataFile> files) {
  /** Copies the lists. */
  public DataSet {
    rows = List.copyOf(rows);
    files = List.copyOf(files);
    if (rows.isEmpty()) {
      throw new IllegalArgumentException("a data set has at least one row");
    }
  }

  /** Returns the kind of all rows. */
  public Row.Kind kind() {
    return rows.get(0).kind();
  }

  /**
   * A file that was read.
   *
   * @param sha256 of its bytes, in hexadecimal
   * @param rows number of rows in it
   */
  public record DataFile(Path path, String sha256, int rows) {}
}
