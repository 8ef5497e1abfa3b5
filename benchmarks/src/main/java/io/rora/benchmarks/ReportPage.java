package io.rora.benchmarks;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.ToDoubleFunction;
import java.util.stream.Collectors;

/**
 * A page with the tables and plots that needs nothing beside itself: the plotting library (uPlot,
 * MIT) stands inside, and the page's own policy forbids it to load anything.
 */
final class ReportPage {
  // The version in the web jar's path; a test sees that it is the one on the class path.
  private static final String UPLOT = "/META-INF/resources/webjars/uplot/1.6.30/dist/";

  // More lines than that cannot be told apart.
  private static final int MOST_SERIES = 12;

  private ReportPage() {}

  /** The page. */
  static String of(Analysis analysis) throws IOException {
    Map<String, String> parts = new LinkedHashMap<>();
    parts.put("STYLE", resource(UPLOT + "uPlot.min.css"));
    parts.put("MACHINE", machine(analysis));
    parts.put(
        "TABLES",
        Report.tables(analysis).stream().map(ReportPage::table).collect(Collectors.joining("\n")));
    parts.put("DATA", data(analysis));
    parts.put("UPLOT", resource(UPLOT + "uPlot.iife.min.js"));
    return fill(resource("report.html"), parts);
  }

  private static String machine(Analysis analysis) {
    List<String> lines = analysis.machine();
    return lines.isEmpty()
        ? "<p>JMH's own results do not say what machine they come from.</p>"
        : lines.stream()
            .map(line -> "<li>" + escaped(line) + "</li>")
            .collect(Collectors.joining("\n", "<ul>", "</ul>"));
  }

  private static String table(Report.Table table) {
    StringBuilder html = new StringBuilder("<h2>").append(escaped(table.title()));
    html.append("</h2>\n<div class=\"scroll\"><table>\n");
    String element = "th";
    for (List<String> row : table.rows()) {
      html.append("<tr>");
      for (int c = 0; c < row.size(); c++) {
        html.append('<').append(element);
        html.append(Report.isText(table, c) ? " class=\"text\">" : ">");
        html.append(escaped(row.get(c))).append("</").append(element).append('>');
      }
      html.append("</tr>\n");
      element = "td";
    }
    return html.append("</table></div>").toString();
  }

  /** What the page's script plots: series of points {@code [x, y, label]}. */
  private static String data(Analysis analysis) throws JsonProcessingException {
    Map<String, Object> data = new LinkedHashMap<>();
    data.put("peaks", peaks(analysis));
    analysis.bandwidth().ifPresent(b -> data.put("bandwidth", b));
    data.put("roofline", roofline(analysis));
    data.put("overhead", overhead(analysis));
    data.put("speed", speed(analysis));
    data.put("ratios", ratios(analysis));
    data.put("growth", growth(analysis));
    // "<" could end the script element that holds the data.
    return new ObjectMapper().writeValueAsString(data).replace("<", "\\u003c");
  }

  private static Map<String, Double> peaks(Analysis analysis) {
    Map<String, Double> peaks = new TreeMap<>();
    for (String type : List.of("F32", "BF16")) {
      analysis.peak(type).ifPresent(p -> peaks.put(type, p));
    }
    return peaks;
  }

  private static List<Object> point(double x, double y, String label) {
    return List.of(x, y, label);
  }

  private static Map<String, List<List<Object>>> roofline(Analysis analysis) {
    Map<String, List<List<Object>>> series = new LinkedHashMap<>();
    for (Analysis.Comparison c : analysis.comparisons()) {
      Measurement m = c.ours();
      Work work = Work.of(m);
      if (work.flop() > 0) {
        String kind = m.operator().startsWith("Linear") ? "linear " : "other ";
        add(
            series,
            kind + m.parameter("dtype"),
            point(
                work.flop() / work.bytes(),
                work.flop() / m.best(),
                m.operator() + ", " + Analysis.size(m)));
      }
    }
    return series;
  }

  /** How much longer a layer takes with an adapter than without, in per cent. */
  private static Map<String, List<List<Object>>> overhead(Analysis analysis) {
    Map<String, Double> bare = new LinkedHashMap<>();
    for (Measurement m : linears(analysis)) {
      if (m.number("rank") == 0) {
        bare.put(name(m, "rank"), m.median());
      }
    }
    Map<String, List<List<Object>>> series = new LinkedHashMap<>();
    for (Measurement m : linears(analysis)) {
      String name = name(m, "rank");
      if (m.number("rank") > 0 && bare.containsKey(name)) {
        double percent = (m.median() / bare.get(name) - 1) * 100;
        add(series, name, point(m.number("rank"), percent, Analysis.size(m)));
      }
    }
    return longEnough(series, 1);
  }

  /** Tokens of a second against tokens of a call. */
  private static Map<String, List<List<Object>>> speed(Analysis analysis) {
    Map<String, List<List<Object>>> series = new LinkedHashMap<>();
    for (Measurement m : linears(analysis)) {
      double tokens = m.number("tokens");
      add(series, name(m, "tokens"), point(tokens, tokens / m.median(), Analysis.size(m)));
    }
    return longEnough(series, 2);
  }

  private static Map<String, List<List<Object>>> ratios(Analysis analysis) {
    Map<String, List<List<Object>>> series = new LinkedHashMap<>();
    for (String peer : Analysis.PEERS) {
      List<Analysis.Comparison> sorted = new ArrayList<>(analysis.comparisons());
      sorted.removeIf(c -> c.ratio(peer).isEmpty());
      ToDoubleFunction<Analysis.Comparison> ratio = c -> c.ratio(peer).getAsDouble();
      sorted.sort(Comparator.comparingDouble(ratio));
      for (int i = 0; i < sorted.size(); i++) {
        Measurement m = sorted.get(i).ours();
        double x = sorted.size() == 1 ? 50 : 100.0 * i / (sorted.size() - 1);
        add(
            series,
            peer,
            point(x, ratio.applyAsDouble(sorted.get(i)), m.operator() + ", " + Analysis.size(m)));
      }
    }
    return series;
  }

  private static List<Map<String, Object>> growth(Analysis analysis) {
    List<Map<String, Object>> all = new ArrayList<>();
    for (Analysis.Growth g : analysis.growth()) {
      List<List<Object>> points =
          g.points().stream().map(p -> point(p.size(), p.seconds(), g.what())).toList();
      List<List<Object>> line =
          g.points().stream().map(p -> point(p.size(), g.fit().at(p.size()), "fit")).toList();
      Map<String, Object> one = new LinkedHashMap<>();
      one.put("over", g.over());
      one.put("what", g.what());
      one.put("exponent", g.fit().exponent());
      one.put("points", points);
      one.put("line", line);
      all.add(one);
    }
    return all;
  }

  private static List<Measurement> linears(Analysis analysis) {
    return analysis.comparisons().stream()
        .map(Analysis.Comparison::ours)
        .filter(m -> m.operator().startsWith("Linear"))
        .toList();
  }

  /** A series' name: operator and sizes but the one on the axis. */
  private static String name(Measurement m, String axis) {
    Map<String, String> others = new TreeMap<>(m.parameters());
    others.remove(axis);
    return m.operator() + " " + Analysis.size(new Measurement("", others, null, null, null));
  }

  private static void add(Map<String, List<List<Object>>> series, String name, List<Object> point) {
    series.computeIfAbsent(name, key -> new ArrayList<>()).add(point);
  }

  /** The series of at least so many points; of many series those of most points. */
  private static Map<String, List<List<Object>>> longEnough(
      Map<String, List<List<Object>>> series, int least) {
    Map<String, List<List<Object>>> kept = new LinkedHashMap<>();
    series.entrySet().stream()
        .filter(e -> e.getValue().size() >= least)
        .sorted(Comparator.comparingInt(e -> -e.getValue().size()))
        .limit(MOST_SERIES)
        .forEach(e -> kept.put(e.getKey(), e.getValue()));
    return kept;
  }

  /** One pass over the template, so that nothing inserted is searched for marks again. */
  private static String fill(String template, Map<String, String> parts) {
    StringBuilder page = new StringBuilder();
    int from = 0;
    for (int at = template.indexOf("{{"); at >= 0; at = template.indexOf("{{", from)) {
      int end = template.indexOf("}}", at);
      page.append(template, from, at).append(parts.get(template.substring(at + 2, end)));
      from = end + 2;
    }
    return page.append(template.substring(from)).toString();
  }

  private static String escaped(String text) {
    return text.replace("&", "&amp;")
        .replace("<", "&lt;")
        .replace(">", "&gt;")
        .replace("\"", "&quot;");
  }

  private static String resource(String name) throws IOException {
    try (InputStream in = ReportPage.class.getResourceAsStream(name)) {
      if (in == null) {
        throw new IOException(name + " is missing from rora-bench.jar: build it again");
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
  }
}
