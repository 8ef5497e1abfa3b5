package io.rora.benchmarks;

import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.Option;
import org.apache.commons.cli.Options;
import org.apache.commons.cli.ParseException;
import org.openjdk.jmh.runner.options.TimeValue;

/** {@code java -jar rora-bench.jar}: the comparison, the page, or JMH with its own options. */
public final class Main {
  private static final String HELP =
      """
      java -jar rora-bench.jar
          Compares rora with libtorch, oneDNN and OpenBLAS at chosen sizes, in at most ten minutes:
          prints tables of times and ratios and writes rora-bench.json.
      java -jar rora-bench.jar --compare [--full] [--only REGEX] [--peers NAME,...] [--rounds N]
                               [--out FILE]
          The same. --full takes every shape of LLaMA-7B, LLaMA3-8B and SmolLM2, which takes hours;
          --only takes the cells whose line of progress matches, as in 'LinearForward .* 1024 64';
          --peers takes those of libtorch, onednn, openblas and rora-rowmajor (default all);
          --rounds alternates the sides so many times (default 5).
      java -jar rora-bench.jar --report DIR [FILE...]
          Turns results of this program or of JMH (-rf json) into DIR/index.html, a page with plots.
          Without FILE it reads rora-bench.json.
      java -jar rora-bench.jar ...
          Anything else goes to JMH, whose options are listed by -h and benchmarks by -l:
          LinearForward -p shape=2048x2048 -p tokens=1024 -p rank=64 -p dtype=BF16 -p impl=libtorch
      """;
  private static final Path RESULTS = Path.of("rora-bench.json");
  private static final int ROUNDS = 5;
  // No cell takes as long as what then remains of the ten minutes.
  private static final Duration LIMIT = Duration.ofMinutes(9);
  private static final TimeValue ITERATION = TimeValue.milliseconds(100);

  private Main() {}

  /** Says what is wrong with the arguments. */
  private static final class UsageException extends RuntimeException {
    UsageException(String message) {
      super(message);
    }
  }

  /**
   * What {@code --compare} is told.
   *
   * @param only what a cell's line must contain a match of
   * @param peers the implementations beside ours
   */
  record Comparison(boolean full, Pattern only, List<String> peers, int rounds, Path out) {
    private static final Options OPTIONS =
        new Options()
            .addOption(Option.builder().longOpt("full").get())
            .addOption(Option.builder().longOpt("only").hasArg().get())
            .addOption(Option.builder().longOpt("peers").hasArg().get())
            .addOption(Option.builder().longOpt("rounds").hasArg().get())
            .addOption(Option.builder().longOpt("out").hasArg().get());

    static Comparison parse(List<String> arguments) {
      try {
        CommandLine line =
            DefaultParser.builder()
                .setAllowPartialMatching(false)
                .get()
                .parse(OPTIONS, arguments.toArray(String[]::new));
        if (!line.getArgList().isEmpty()) {
          throw new UsageException(
              "--compare does not know " + line.getArgList().get(0) + "; see --help");
        }
        return new Comparison(
            line.hasOption("full"),
            Pattern.compile(line.getOptionValue("only", "")),
            known(line.getOptionValue("peers", String.join(",", Peers.ALL))),
            atLeastOne(line.getOptionValue("rounds", "" + ROUNDS)),
            Path.of(line.getOptionValue("out", RESULTS.toString())));
      } catch (ParseException e) {
        throw new UsageException("--compare: " + e.getMessage() + "; see --help");
      } catch (PatternSyntaxException e) {
        throw new UsageException("--only " + e.getPattern() + ": " + e.getDescription());
      }
    }

    private static List<String> known(String text) {
      List<String> names = List.of(text.split(",", -1));
      for (String name : names) {
        if (!Peers.ALL.contains(name)) {
          throw new UsageException(
              "--peers " + text + ": \"" + name + "\" is none of " + String.join(", ", Peers.ALL));
        }
      }
      return names;
    }

    private static int atLeastOne(String text) {
      if (!text.matches("[1-9]\\d{0,3}")) {
        throw new UsageException("--rounds " + text + ": must be a whole number from 1 to 9999");
      }
      return Integer.parseInt(text);
    }

    /** The cells that are wanted; refuses a pattern that matches none. */
    List<Cell> cells() {
      List<Cell> all = full ? Cell.full() : Cell.standard();
      if (all.stream().noneMatch(this::matches)) {
        throw new UsageException(
            "--only "
                + only.pattern()
                + ": none of the "
                + all.size()
                + " cells matches; they look like "
                + all.get(all.size() - 1).describe()
                + (full ? "" : ", and --full has more"));
      }
      return all.stream().filter(cell -> cell.isCeiling() || matches(cell)).toList();
    }

    private boolean matches(Cell cell) {
      return only.matcher(cell.describe()).find();
    }
  }

  /** Runs what the arguments say; exits with 2 if they are wrong and 1 if something failed. */
  public static void main(String[] args) throws IOException {
    String first = args.length == 0 ? "--compare" : args[0];
    if (!first.startsWith("--")) {
      org.openjdk.jmh.Main.main(args);
      return;
    }
    String[] quiet = Operator.QUIET.substring(2).split("=", -1);
    System.setProperty(quiet[0], quiet[1]);
    int status = run(Arrays.asList(args), System.out, System.err);
    if (status != 0) {
      System.exit(status);
    }
  }

  /** Everything but JMH's own options; returns the exit code. */
  static int run(List<String> arguments, PrintStream out, PrintStream err) {
    List<String> rest = arguments.isEmpty() ? List.of() : arguments.subList(1, arguments.size());
    try {
      switch (arguments.isEmpty() ? "--compare" : arguments.get(0)) {
        case "--help" -> out.print(HELP);
        case "--compare" -> compare(Comparison.parse(rest), arguments, out, err);
        case "--report" -> report(rest, out);
        default -> throw new UsageException("there is no " + arguments.get(0) + "; see --help");
      }
      return 0;
    } catch (UsageException e) {
      err.println("rora-bench: " + e.getMessage());
      return 2;
    } catch (IOException e) {
      err.println("rora-bench: " + e.getMessage());
      return 1;
    }
  }

  private static void compare(
      Comparison options, List<String> arguments, PrintStream out, PrintStream err)
      throws IOException {
    List<Cell> cells = options.cells();
    List<String> missing = new ArrayList<>();
    List<String> loadable = Peers.loadable(missing);
    missing.forEach(message -> err.println("rora-bench: " + message));
    Suite suite =
        new Suite(
            Machine.describe(arguments),
            options.rounds(),
            ITERATION,
            options.full() ? Duration.ofDays(7) : LIMIT,
            1,
            err);
    loadable.add(Peers.ROW_MAJOR);
    loadable.retainAll(options.peers());
    suite.run(cells.stream().map(cell -> cell.with(loadable)).toList(), options.out());
    Analysis analysis = new Analysis(Measurement.read(options.out()));
    analysis.machine().forEach(out::println);
    out.print(Report.text(Report.tables(analysis)));
    suite.leftOut().forEach(cell -> out.println("left out: " + cell));
    out.println("\nresults: " + options.out() + "; a page of them: --report DIR " + options.out());
  }

  private static void report(List<String> arguments, PrintStream out) throws IOException {
    if (arguments.isEmpty()) {
      throw new UsageException("--report needs a directory; see --help");
    }
    List<Measurement> all = new ArrayList<>();
    List<String> files = arguments.subList(1, arguments.size());
    for (String file : files.isEmpty() ? List.of(RESULTS.toString()) : files) {
      Path path = Path.of(file);
      if (!Files.isRegularFile(path)) {
        throw new IOException(
            file + ": there is no such file; run the suite, or JMH with -rf json -rff " + file);
      }
      all.addAll(Measurement.read(path));
    }
    if (all.isEmpty()) {
      throw new IOException(
          String.join(", ", files.isEmpty() ? List.of(RESULTS.toString()) : files)
              + ": no benchmark has left a result there; did it fail?");
    }
    Path directory = Path.of(arguments.get(0));
    if (Files.exists(directory) && !Files.isDirectory(directory)) {
      throw new IOException(directory + ": is a file; --report needs a directory");
    }
    Files.createDirectories(directory);
    Path page = directory.resolve("index.html");
    Files.writeString(page, ReportPage.of(new Analysis(all)));
    out.println(page);
  }
}
