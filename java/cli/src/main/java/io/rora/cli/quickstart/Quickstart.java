package io.rora.cli.quickstart;

import io.rora.cli.Console;
import io.rora.cli.FailureException;
import io.rora.cli.TextTable;
import io.rora.cli.TrainProgress;
import io.rora.config.JsonText;
import io.rora.config.StrictJson;
import io.rora.data.PromptTemplate;
import io.rora.files.DurableFiles;
import io.rora.kernels.ScalingRule;
import io.rora.train.Method;
import io.rora.train.StepMetrics;
import io.rora.train.TrainListener;
import io.rora.train.TrainOptions;
import io.rora.train.TrainStart;
import io.rora.train.Trainer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.stream.Stream;

/**
 * Fine-tunes the built-in model to answer questions about the toy world, with LoRA and RoRA at
 * several ranks, and leaves in its folder: the base, the rows, a run each, and a page with the
 * curves.
 */
public final class Quickstart {
  /** Says that a folder is the quickstart's own. */
  static final String MARKER = "rora-quickstart.json";

  static final String PAGE = "report.html";
  private static final long SEED = 7;
  private static final int PEOPLE = 128;
  private static final int TOWNS = 32;
  private static final String EXPLANATION =
      "Alpha is the same in every run: LoRA's gamma = alpha / rank falls with the rank, and the"
          + " gradient norm at the start falls with it, while RoRA's gamma = alpha / sqrt(rank)"
          + " keeps that norm comparable at every rank. The base knows every fact but not what the"
          + " questions ask for, so before tuning it picks one of a person's four towns nearly at"
          + " random (25 %); tuning on one half of the people teaches that, and the accuracy is"
          + " that on the other half.";

  private final Path out;
  private final Recipe recipe;
  private final Console console;
  private final ToyWorld world = world();

  /**
   * Makes a quickstart.
   *
   * @param out its folder; one of an earlier quickstart is replaced
   * @param threads 0 for all cores
   */
  public Quickstart(Path out, int threads, Console console) {
    this(out, Recipe.standard(threads), console);
  }

  Quickstart(Path out, Recipe recipe, Console console) {
    this.out = out;
    this.recipe = recipe;
    this.console = console;
  }

  /** The world that the built-in model knows. */
  static ToyWorld world() {
    return ToyWorld.create(SEED, PEOPLE, TOWNS);
  }

  /**
   * Pretrains the built-in model anew.
   *
   * @param work where everything goes, absent or empty
   * @return the model's directory in it
   */
  public static Path rebuildBase(Path work, int threads, TrainListener listener)
      throws IOException {
    return BaseModel.pretrain(world(), work, threads, listener);
  }

  /** Does everything and prints table, explanation and what to type next. */
  public void run() throws IOException {
    report(runAll());
  }

  /** Writes the page and prints. */
  void report(List<RunResult> runs) throws IOException {
    List<String> next = next();
    Files.writeString(out.resolve(PAGE), ReportPage.of(runs, EXPLANATION, next));
    TextTable table = new TextTable(RunResult.COLUMNS);
    runs.forEach(run -> table.row(run.cells()));
    console.out().print(table);
    console.out().println();
    console.out().println(EXPLANATION);
    console.out().println();
    console.out().println("curves: " + out.resolve(PAGE));
    console.out().println();
    next.forEach(console.out()::println);
  }

  /** Replaces the folder and trains; the results in the table's order. */
  List<RunResult> runAll() throws IOException {
    replaceFolder();
    BaseModel.extract(base());
    Path train = writeRows("train.jsonl", trainingQuestions());
    Path heldOut = writeRows("heldout.jsonl", world.heldOutQuestions());
    try (HeldOut exam = HeldOut.open(base(), heldOut, recipe.threads())) {
      double before = exam.accuracy(null);
      List<RunResult> runs = new ArrayList<>();
      for (String method : recipe.methods()) {
        for (int rank : recipe.ranks()) {
          runs.add(tune(method, rank, train, exam, before));
        }
      }
      return runs;
    }
  }

  private List<Question> trainingQuestions() {
    List<Question> questions = world.trainingQuestions();
    return recipe.shuffledAnswers() ? ToyWorld.withShuffledAnswers(questions, SEED) : questions;
  }

  private Path base() {
    return out.resolve("base");
  }

  private RunResult tune(String method, int rank, Path train, HeldOut exam, double before)
      throws IOException {
    String name = method + "-r" + rank;
    Path run = out.resolve(name);
    Curves curves;
    try (TrainProgress progress = new TrainProgress(console, name, () -> false)) {
      curves = new Curves(progress);
      Trainer.run(options(method, rank, train, run), curves);
    }
    double after = exam.accuracy(run);
    double gamma = ScalingRule.valueOf(method.toUpperCase(Locale.ROOT)).gamma(recipe.alpha(), rank);
    return new RunResult(
        method,
        rank,
        recipe.alpha(),
        gamma,
        before,
        after,
        curves.losses,
        curves.gradientNorms,
        curves.seconds);
  }

  private TrainOptions options(String method, int rank, Path train, Path run) {
    return TrainOptions.builder()
        .model(base())
        .data(train)
        .out(run)
        .method(Method.valueOf(method.toUpperCase(Locale.ROOT)))
        .rank(rank)
        .alpha(recipe.alpha())
        .learningRate(recipe.learningRate())
        .batchSize(recipe.batchSize())
        .maxSteps(recipe.steps())
        .promptTemplate(PromptTemplate.CLOZE)
        .saveSteps(recipe.steps())
        .threads(recipe.threads())
        .build();
  }

  private Path writeRows(String name, List<Question> questions) throws IOException {
    StringBuilder lines = new StringBuilder();
    for (Question question : questions) {
      lines.append(JsonText.line(question.row())).append('\n');
    }
    Path file = out.resolve("data").resolve(name);
    Files.createDirectories(file.getParent());
    Files.writeString(file, lines);
    return file;
  }

  private List<String> next() {
    String base = base().toString();
    return List.of(
        "next, with what this wrote:",
        "  rora generate --model " + base + " --prompt \"The bed of " + someone() + " stands in\"",
        "  rora inspect " + out.resolve("rora-r16"),
        "next, with a real model (a Hugging Face directory or a GGUF file) and your rows:",
        "  rora train --model MODEL --data ROWS.jsonl --rank 16 --alpha 32 --out runs/first",
        "  rora generate --model MODEL --adapter runs/first --prompt \"...\"");
  }

  private String someone() {
    return world.people().get(0);
  }

  /**
   * Empties the folder if it is the quickstart's own, and marks it. Nothing else is ever deleted.
   *
   * @throws FailureException if it holds anything that the quickstart did not write
   */
  private void replaceFolder() throws IOException {
    Set<String> own = ownEntries();
    if (Files.exists(out, LinkOption.NOFOLLOW_LINKS)) {
      Set<String> entries = entries();
      boolean marked = entries.contains(MARKER) && isMarker(out.resolve(MARKER));
      Set<String> foreign = new TreeSet<>(entries);
      foreign.removeAll(own);
      if (!entries.isEmpty() && (!marked || !foreign.isEmpty())) {
        throw new FailureException(
            out
                + (marked
                    ? " holds " + foreign.iterator().next() + ", which the quickstart did not write"
                    : " is not empty and not an earlier quickstart's")
                + ": name another --out, or move it away");
      }
      for (String entry : entries) {
        if (!entry.equals(MARKER)) {
          new DurableFiles().deleteTree(out.resolve(entry));
        }
      }
    }
    Files.createDirectories(out);
    Files.writeString(
        out.resolve(MARKER), JsonText.line(Map.of("rora", "quickstart", "format", 1)) + "\n");
  }

  private Set<String> entries() throws IOException {
    if (!Files.isDirectory(out)) {
      throw new FailureException(out + " is a file: name another --out, or move it away");
    }
    Set<String> entries = new TreeSet<>();
    try (Stream<Path> list = Files.list(out)) {
      list.forEach(entry -> entries.add(entry.getFileName().toString()));
    }
    return entries;
  }

  private static boolean isMarker(Path file) {
    try {
      return StrictJson.read(file).string("rora").equals("quickstart");
    } catch (IOException e) {
      return false;
    }
  }

  private Set<String> ownEntries() {
    Set<String> own = new TreeSet<>(Set.of(MARKER, PAGE, "base", "data"));
    for (String method : List.of("lora", "rora")) {
      for (int rank : recipe.ranks()) {
        own.add(method + "-r" + rank);
      }
    }
    return own;
  }

  /** Keeps the curves, and shows the progress. */
  private static final class Curves implements TrainListener {
    private final List<Double> losses = new ArrayList<>();
    private final List<Double> gradientNorms = new ArrayList<>();
    private final TrainListener display;
    private double seconds;

    Curves(TrainListener display) {
      this.display = display;
    }

    @Override
    public void onStart(TrainStart start) {
      display.onStart(start);
    }

    @Override
    public void onStep(StepMetrics step) {
      losses.add(step.loss());
      gradientNorms.add(step.gradNorm());
      seconds += step.seconds();
      display.onStep(step);
    }

    @Override
    public void onWarning(String message) {
      display.onWarning(message);
    }
  }
}
