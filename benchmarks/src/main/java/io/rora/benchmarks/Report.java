package io.rora.benchmarks;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.OptionalDouble;
import java.util.function.DoubleFunction;

/** The tables: the same cells for the terminal and for the page. */
final class Report {
  /**
   * A table.
   *
   * @param title what it shows
   * @param rows cells as text, the header first
   */
  record Table(String title, List<List<String>> rows) {}

  private Report() {}

  /** All tables that these measurements have rows for. */
  static List<Table> tables(Analysis analysis) {
    List<Table> tables = new ArrayList<>();
    tables.add(machine(analysis));
    tables.add(comparisons(analysis));
    tables.add(summaries(analysis));
    tables.add(growth(analysis));
    tables.removeIf(table -> table.rows().size() < 2);
    return tables;
  }

  private static Table machine(Analysis analysis) {
    List<List<String>> rows = new ArrayList<>();
    rows.add(List.of("measured ceiling", "value"));
    for (String type : List.of("F32", "BF16")) {
      analysis
          .peak(type)
          .ifPresent(p -> rows.add(List.of("peak " + type, format("%.1f GFLOP/s", p / 1e9))));
    }
    analysis
        .bandwidth()
        .ifPresent(b -> rows.add(List.of("reading memory", format("%.1f GB/s", b / 1e9))));
    return new Table("Machine", rows);
  }

  private static Table comparisons(Analysis analysis) {
    List<List<String>> rows = new ArrayList<>();
    List<String> header =
        new ArrayList<>(List.of("operator", "size", "ms", "GFLOP/s", "dense/peak"));
    Analysis.PEERS.forEach(peer -> header.add("x " + peer));
    header.add("row-major");
    rows.add(header);
    for (Analysis.Comparison c : analysis.comparisons()) {
      Measurement ours = c.ours();
      double flop = Work.of(ours).flop();
      List<String> row = new ArrayList<>();
      row.add(ours.operator());
      row.add(Analysis.size(ours));
      row.add(format("%.3f", ours.median() * 1e3));
      row.add(flop == 0 ? "" : format("%.1f", flop / ours.median() / 1e9));
      row.add(cell(analysis.shareOfPeak(ours), v -> format("%.2f", v)));
      Analysis.PEERS.forEach(peer -> row.add(cell(c.ratio(peer), v -> format("%.2f", v))));
      row.add(cell(c.ratio(Peers.ROW_MAJOR), v -> format("%+.0f %%", (v - 1) * 100)));
      rows.add(row);
    }
    return new Table(
        "Times and ratios: x PEER is the peer's time over ours; row-major is what that boundary"
            + " adds to ours"
            + rounds(analysis),
        rows);
  }

  /** Of how many rounds a ratio is the median, where that is too few to believe it. */
  private static String rounds(Analysis analysis) {
    int fewest =
        analysis.comparisons().stream()
            .mapToInt(c -> c.ours().seconds().size())
            .min()
            .orElse(Integer.MAX_VALUE);
    return fewest < 3 ? "; of " + fewest + " round(s) only, so that noise is not told apart" : "";
  }

  private static Table summaries(Analysis analysis) {
    List<List<String>> rows = new ArrayList<>();
    rows.add(List.of("against", "of", "sizes", "geometric mean", "least", "where"));
    for (Analysis.Summary s : analysis.summaries()) {
      rows.add(
          List.of(
              s.peer(),
              s.group(),
              "" + s.count(),
              format("%.2f", s.mean()),
              format("%.2f", s.least()),
              s.where()));
    }
    return new Table("Ratios in all", rows);
  }

  private static Table growth(Analysis analysis) {
    List<List<String>> rows = new ArrayList<>();
    rows.add(List.of("a step's time over", "of", "points", "exponent", "R squared"));
    for (Analysis.Growth g : analysis.growth()) {
      rows.add(
          List.of(
              g.over(),
              g.what(),
              "" + g.points().size(),
              format("%.3f", g.fit().exponent()),
              format("%.4f", g.fit().rSquare())));
    }
    return new Table("Growth: time = factor size^exponent", rows);
  }

  private static String cell(OptionalDouble value, DoubleFunction<String> format) {
    return value.isPresent() ? format.apply(value.getAsDouble()) : "";
  }

  private static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }

  /** The tables for a terminal; columns of numbers stand flush right. */
  static String text(List<Table> tables) {
    StringBuilder text = new StringBuilder();
    for (Table table : tables) {
      text.append('\n').append(table.title()).append('\n');
      int columns = table.rows().get(0).size();
      int[] widths = new int[columns];
      table
          .rows()
          .forEach(
              row -> {
                for (int c = 0; c < columns; c++) {
                  widths[c] = Math.max(widths[c], row.get(c).length());
                }
              });
      for (List<String> row : table.rows()) {
        StringBuilder line = new StringBuilder();
        for (int c = 0; c < columns; c++) {
          boolean left = isText(table, c);
          String pad = " ".repeat(widths[c] - row.get(c).length());
          line.append(left ? row.get(c) + pad : pad + row.get(c)).append("  ");
        }
        text.append(line.toString().stripTrailing()).append('\n');
      }
    }
    return text.toString();
  }

  /** Whether a column holds words. */
  static boolean isText(Table table, int column) {
    return table.rows().stream()
        .skip(1)
        .map(row -> row.get(column))
        .anyMatch(cell -> !cell.isEmpty() && !cell.matches("[-+]?[\\d.]+( .{1,8})?"));
  }
}
