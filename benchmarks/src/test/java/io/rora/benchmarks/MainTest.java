package io.rora.benchmarks;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class MainTest {
  @TempDir Path directory;

  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  private int run(String... arguments) {
    return Main.run(
        List.of(arguments),
        new PrintStream(out, true, StandardCharsets.UTF_8),
        new PrintStream(err, true, StandardCharsets.UTF_8));
  }

  @Test
  void helpNamesEveryMode() {
    assertEquals(0, run("--help"));
    String text = out.toString(StandardCharsets.UTF_8);
    for (String mode : List.of("--compare", "--full", "--report DIR", "-p shape=")) {
      assertTrue(text.contains(mode), mode);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "--reprot | there is no --reprot",
        "--report | --report needs a directory",
        "--compare --fast | fast",
        "--compare shape | does not know shape",
        "--compare --rounds 0 | --rounds 0: must be a whole number",
        "--compare --rounds | rounds",
        "--compare --only ( | --only (: Unclosed group",
        "--compare --peers libtorch,mkl | --peers libtorch,mkl: \"mkl\" is none of libtorch, onednn",
        "--compare --only zzzz | --only zzzz: none of the"
      })
  void wrongArgumentsAreNamed(String line, String message) {
    assertEquals(2, run(line.split(" ", -1)));
    String text = err.toString(StandardCharsets.UTF_8);
    assertTrue(text.contains(message), text);
    assertEquals(1, text.lines().count(), text);
  }

  @Test
  void reportSaysWhichFileIsWrong() throws IOException {
    Path broken = Files.writeString(directory.resolve("broken.json"), "[\n{");
    Path empty = Files.writeString(directory.resolve("empty.json"), "[]");
    Path page = directory.resolve("page");
    assertEquals(1, run("--report", page.toString(), broken.toString()));
    assertEquals(1, run("--report", page.toString(), empty.toString()));
    List<String> lines = err.toString(StandardCharsets.UTF_8).lines().toList();
    assertEquals(2, lines.size(), "" + lines);
    assertTrue(lines.get(0).contains("broken.json: is not whole JSON"), lines.get(0));
    assertTrue(lines.get(1).contains("empty.json: no benchmark has left"), lines.get(1));
    assertFalse(Files.exists(page));
  }

  @Test
  void compareKnowsItsOptions() {
    Main.Comparison options =
        Main.Comparison.parse(
            List.of(
                "--full", "--rounds", "7", "--only", "Rope", "--peers", "onednn", "--out", "x"));
    assertTrue(options.full());
    assertEquals(7, options.rounds());
    assertEquals(Path.of("x"), options.out());
    assertEquals(List.of("onednn"), options.peers());
    assertEquals(Peers.ALL, Main.Comparison.parse(List.of()).peers());
    List<Cell> cells = options.cells();
    assertEquals(3, cells.stream().filter(Cell::isCeiling).count());
    assertTrue(cells.size() > 3);
    assertTrue(cells.stream().allMatch(c -> c.isCeiling() || c.describe().startsWith("Rope")));
  }

  @Test
  void cellsAreNoneTwice() {
    for (List<Cell> cells : List.of(Cell.standard(), Cell.full())) {
      List<String> lines = cells.stream().map(Cell::describe).toList();
      assertEquals(lines.stream().distinct().toList(), lines);
    }
  }

  @Test
  void reportMakesAPageOfItself() throws IOException {
    Path results = Fixture.copyTo(directory);
    Path page = directory.resolve("deep/page");
    assertEquals(0, run("--report", page.toString(), results.toString()));
    String html = Files.readString(page.resolve("index.html"));
    assertTrue(html.contains("Testing &lt;machine&gt;, 2 cores"), "the machine, escaped");
    assertTrue(html.contains("geometric mean"), "the means");
    for (String key : List.of("peaks", "roofline", "overhead", "speed", "ratios", "growth")) {
      assertTrue(html.contains("\"" + key + "\":"), key);
    }
    assertTrue(html.contains("uPlot"), "the plotting library");
    assertFalse(html.contains("{{"), "a mark was left");
    assertFalse(html.contains("src="), "the page loads something");
  }

  @Test
  void missingResultsAreNamed() {
    Path none = directory.resolve("none.json");
    assertEquals(1, run("--report", directory.toString(), none.toString()));
    assertTrue(err.toString(StandardCharsets.UTF_8).contains("none.json: there is no such file"));
  }
}
