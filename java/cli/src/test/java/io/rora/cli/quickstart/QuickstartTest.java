package io.rora.cli.quickstart;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.cli.Console;
import io.rora.cli.FailureException;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class QuickstartTest {
  @TempDir Path work;

  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();
  private final Console console =
      new Console(
          new PrintStream(out, true, StandardCharsets.UTF_8),
          new PrintStream(err, true, StandardCharsets.UTF_8),
          false);

  @Test
  void tuningTeachesWhatTheQuestionsAskAtEveryRankOfBothMethods() throws IOException {
    Path folder = work.resolve("qs");
    Quickstart quickstart = new Quickstart(folder, Recipe.standard(0), console);
    List<RunResult> runs = quickstart.runAll();
    assertEquals(6, runs.size());
    for (RunResult run : runs) {
      assertTrue(
          run.before() > 0.15 && run.before() < 0.35, run.name() + " before " + run.before());
      assertTrue(run.after() > 0.8, run.name() + " after " + run.after());
      assertTrue(run.lastLoss() < 0.1 * run.firstLoss(), run.name() + " loss " + run.lastLoss());
      assertTrue(Files.exists(folder.resolve(run.name()).resolve("adapter_model.safetensors")));
    }
    // At B = 0 the gradient norm falls as rank^-1/2 with alpha / rank and is flat with alpha /
    // sqrt(rank).
    assertEquals(0.25, ratio(runs, "lora-r64", "lora-r4"), 0.1);
    assertEquals(1.0, ratio(runs, "rora-r64", "rora-r4"), 0.35);
    quickstart.report(runs);
    String text = out.toString(StandardCharsets.UTF_8);
    assertTrue(text.contains("rora") && text.contains("report.html"), text);
    assertTrue(text.contains("rora train --model MODEL"), text);
    checkPage(Files.readString(folder.resolve(Quickstart.PAGE)));
  }

  private static double ratio(List<RunResult> runs, String above, String below) {
    return named(runs, above).firstGradientNorm() / named(runs, below).firstGradientNorm();
  }

  private static RunResult named(List<RunResult> runs, String name) {
    return runs.stream().filter(run -> run.name().equals(name)).findFirst().orElseThrow();
  }

  private static void checkPage(String page) {
    assertTrue(page.contains("default-src 'none'"), "the page may load nothing");
    for (String loads : List.of(" src=", " href=", "@import", "url(")) {
      assertFalse(page.contains(loads), loads);
    }
    assertTrue(page.contains("uPlot"), "the plotting library is inside");
    assertTrue(page.contains("\"name\":\"rora-r64\"") && page.contains("\"gradNorm\":["));
    assertTrue(page.contains("<td>rora</td>"));
    assertFalse(page.contains("{{"), "every mark is filled");
  }

  @Test
  void shuffledAnswersTeachNothing() throws IOException {
    Recipe standard = Recipe.standard(0);
    Recipe shuffled =
        new Recipe(
            List.of("rora"),
            List.of(16),
            standard.alpha(),
            standard.learningRate(),
            standard.steps(),
            standard.batchSize(),
            true,
            0);
    RunResult run = new Quickstart(work.resolve("qs"), shuffled, console).runAll().get(0);
    assertTrue(run.after() > 0.12 && run.after() < 0.4, "accuracy " + run.after());
  }

  private Recipe oneStep() {
    return new Recipe(List.of("lora"), List.of(4), 16, 1e-3, 1, 2, false, 1);
  }

  @Test
  void itsOwnFolderIsReplaced() throws IOException {
    Path folder = work.resolve("qs");
    new Quickstart(folder, oneStep(), console).run();
    Files.writeString(folder.resolve("base/old.txt"), "of an earlier quickstart");
    new Quickstart(folder, oneStep(), console).run();
    assertFalse(Files.exists(folder.resolve("base/old.txt")));
    assertTrue(Files.exists(folder.resolve(Quickstart.PAGE)));
  }

  @Test
  void aFolderOfSomebodyElseIsLeftAlone() throws IOException {
    Path folder = Files.createDirectory(work.resolve("mine"));
    Path precious = Files.writeString(folder.resolve("precious.txt"), "do not lose");
    Quickstart quickstart = new Quickstart(folder, oneStep(), console);
    assertTrue(
        assertThrows(FailureException.class, quickstart::run)
            .getMessage()
            .contains("not an earlier quickstart's"));
    Files.writeString(folder.resolve(Quickstart.MARKER), "{\"rora\": \"quickstart\"}");
    assertTrue(
        assertThrows(FailureException.class, quickstart::run)
            .getMessage()
            .contains("precious.txt"));
    assertEquals("do not lose", Files.readString(precious));
    Path file = Files.writeString(work.resolve("file"), "also mine");
    assertThrows(FailureException.class, new Quickstart(file, oneStep(), console)::run);
    assertEquals("also mine", Files.readString(file));
  }

  @Test
  void aPageCannotBeBrokenByWhatItShows() throws IOException {
    RunResult run =
        new RunResult("lora", 4, 16, 4, 0.25, 0.9, List.of(3.0, 1.0), List.of(2.0, 1.0), 1.5);
    String page = ReportPage.of(List.of(run), "a <b> & \"c\"", List.of("</script>"));
    assertTrue(page.contains("a &lt;b&gt; &amp; &quot;c&quot;"), "escaped");
    assertFalse(page.contains("<pre></script>"), "escaped");
  }
}
