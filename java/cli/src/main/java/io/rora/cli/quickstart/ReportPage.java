package io.rora.cli.quickstart;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;

/**
 * A page with the runs' table and curves that needs nothing beside itself: the plotting library
 * (uPlot, MIT) stands inside, and the page's own policy forbids it to load anything.
 */
final class ReportPage {
  // The version in the web jar's path; a test sees that it is the one on the class path.
  private static final String UPLOT = "/META-INF/resources/webjars/uplot/1.6.30/dist/";

  private ReportPage() {}

  /**
   * The page.
   *
   * @param runs in the table's order
   * @param explanation what to see in them, plain text
   * @param next what to type next, a line each
   */
  static String of(List<RunResult> runs, String explanation, List<String> next) throws IOException {
    Map<String, String> parts = new LinkedHashMap<>();
    parts.put("STYLE", resource(UPLOT + "uPlot.min.css"));
    parts.put("EXPLANATION", escaped(explanation));
    parts.put("TABLE", table(runs));
    parts.put("NEXT", escaped(String.join("\n", next)));
    parts.put("DATA", data(runs));
    parts.put("UPLOT", resource(UPLOT + "uPlot.iife.min.js"));
    return fill(resource("report.html"), parts);
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

  private static String table(List<RunResult> runs) {
    StringBuilder rows = new StringBuilder("<tr>");
    RunResult.COLUMNS.forEach(name -> rows.append("<th>").append(escaped(name)).append("</th>"));
    rows.append("</tr>\n");
    for (RunResult run : runs) {
      String cells =
          run.cells().stream()
              .map(cell -> "<td>" + escaped(cell) + "</td>")
              .collect(Collectors.joining());
      rows.append("<tr>").append(cells).append("</tr>\n");
    }
    return rows.toString();
  }

  private static String data(List<RunResult> runs) throws JsonProcessingException {
    List<Map<String, Object>> curves =
        runs.stream()
            .map(
                run ->
                    Map.<String, Object>of(
                        "name", run.name(),
                        "method", run.method(),
                        "rank", run.rank(),
                        "loss", run.losses(),
                        "gradNorm", run.gradientNorms()))
            .toList();
    // "<" could end the script element that holds the data.
    return new ObjectMapper().writeValueAsString(curves).replace("<", "\\u003c");
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
        throw new IOException(name + " is missing from rora.jar: build it again");
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
  }
}
