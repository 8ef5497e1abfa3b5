package io.rora.cli;

import java.util.ArrayList;
import java.util.List;

/** A table in plain text: the first column stands left, the others right, under their names. */
public final class TextTable {
  private final List<List<String>> rows = new ArrayList<>();

  /**
   * Starts a table.
   *
   * @param names the columns' names
   */
  public TextTable(List<String> names) {
    rows.add(List.copyOf(names));
  }

  /** Starts a table. */
  TextTable(String... names) {
    this(List.of(names));
  }

  /** Adds a row; it has one cell for each column. */
  public TextTable row(List<String> cells) {
    if (cells.size() != rows.get(0).size()) {
      throw new IllegalArgumentException(
          cells.size() + " cells: the table has " + rows.get(0).size() + " columns");
    }
    rows.add(cells.stream().map(ErrorReport::oneLine).toList());
    return this;
  }

  /** Adds a row; it has one cell for each column. */
  TextTable row(String... cells) {
    return row(List.of(cells));
  }

  /** The lines, each ending in a newline. */
  @Override
  public String toString() {
    int columns = rows.get(0).size();
    int[] widths = new int[columns];
    for (List<String> row : rows) {
      for (int i = 0; i < columns; i++) {
        widths[i] = Math.max(widths[i], width(row.get(i)));
      }
    }
    StringBuilder text = new StringBuilder();
    for (List<String> row : rows) {
      StringBuilder line = new StringBuilder();
      for (int i = 0; i < columns; i++) {
        String gap = " ".repeat(widths[i] - width(row.get(i)));
        line.append(i == 0 ? "" : "  ");
        line.append(i == 0 ? row.get(i) + gap : gap + row.get(i));
      }
      text.append(line.toString().stripTrailing()).append('\n');
    }
    return text.toString();
  }

  private static int width(String cell) {
    return cell.codePointCount(0, cell.length());
  }
}
