package io.rora.cli;

import io.rora.config.JsonText;
import io.rora.config.StrictJson;
import io.rora.data.DataSet;
import io.rora.data.PromptTemplate;
import io.rora.data.Row;
import io.rora.data.RowReader;
import io.rora.data.SequenceBuilder;
import io.rora.evaluate.AccuracyResult;
import io.rora.evaluate.Evaluator;
import io.rora.evaluate.PerplexityResult;
import io.rora.evaluate.Prediction;
import io.rora.files.DurableFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.apache.commons.cli.Options;

/** {@code rora eval}: measures a model, with or without an adapter. */
final class EvalCommand implements Command {
  private static final String[] TASKS = {"choice", "cloze", "generate", "perplexity"};
  private static final int DEFAULT_CUTOFF = 256;

  @Override
  public String name() {
    return "eval";
  }

  @Override
  public String summary() {
    return "Measure a model, with or without an adapter, on rows of data.";
  }

  @Override
  public String usage() {
    return "--model M [--adapter D] --data F --task choice|cloze|generate|perplexity [options]";
  }

  @Override
  public String example() {
    return "eval --model models/SmolLM2-135M --adapter runs/first --data test.json --task cloze";
  }

  @Override
  public Options options() {
    return new OptionTable()
        .model()
        .adapter()
        .value("data", "F[,F]", "JSON or JSONL rows")
        .value(
            "task",
            "T",
            "choice: likelihood of the labels; cloze: of the options' texts;"
                + " generate: the label that stands first in the answer; perplexity")
        .value("num-beams", "N", "with --task generate: beams, 1 is greedy (1)")
        .value("limit", "N", "only the first N rows (all)")
        .value(
            "cutoff-len",
            "N",
            "with --task perplexity: most tokens of a row (the adapter's run's," + " else 256)")
        .value(
            "prompt-template",
            "T",
            "with --task perplexity: alpaca, cloze or plain (the adapter's"
                + " run's, else by the rows)")
        .flag(
            "train-on-inputs",
            "with --task perplexity: measure the prompts too (as the adapter's" + " run)")
        .value("json", "FILE", "also write the result and every prediction to FILE")
        .machine()
        .help()
        .build();
  }

  @Override
  public void run(Arguments arguments, Console console) throws IOException {
    Plan plan = Plan.of(arguments);
    DataSet data = RowReader.read(plan.data);
    if (plan.limit > 0) {
      data = Evaluator.firstRows(data, plan.limit);
    }
    Machine machine = plan.machine;
    try (LoadedModel loaded =
            LoadedModel.open(
                plan.model,
                machine.dtype(),
                machine.device(),
                machine.threads(),
                new Progress(console, "loading"));
        LoadedModel.OpenAdapter adapter = loaded.adapter(plan.adapter)) {
      Evaluator evaluator = new Evaluator(loaded.model(), loaded.tokenizer(), adapter.adapters());
      Progress progress = new Progress(console, plan.task);
      Map<String, Object> json =
          switch (plan.task) {
            case "choice" -> accuracy(evaluator.choice(data, progress), console);
            case "cloze" -> accuracy(evaluator.cloze(data, progress), console);
            case "generate" -> accuracy(evaluator.generate(data, plan.beams, progress), console);
            default ->
                perplexity(
                    evaluator.perplexity(
                        data, plan.sequences.builder(loaded, data.kind()), progress),
                    console);
          };
      if (plan.json != null) {
        new DurableFiles().write(plan.json, DurableFiles.Body.of(JsonText.pretty(json)));
      }
    }
  }

  private static Map<String, Object> accuracy(AccuracyResult result, Console console) {
    TextTable table = new TextTable("task", "rows", "right", "accuracy", "unparsable");
    long right = result.predictions().stream().filter(Prediction::correct).count();
    table.row(
        result.task(),
        Integer.toString(result.n()),
        Long.toString(right),
        Units.percent(result.accuracy()),
        Integer.toString(result.unparsable()));
    console.out().print(table);
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("task", result.task());
    json.put("n", result.n());
    json.put("accuracy", result.accuracy());
    json.put("unparsable", result.unparsable());
    List<Map<String, Object>> predictions = new ArrayList<>();
    for (Prediction prediction : result.predictions()) {
      Map<String, Object> entry = new LinkedHashMap<>();
      entry.put("answer", prediction.answer());
      entry.put("prediction", prediction.prediction().orElse(null));
      entry.put("scores", prediction.scores());
      predictions.add(entry);
    }
    json.put("predictions", predictions);
    return json;
  }

  private static Map<String, Object> perplexity(PerplexityResult result, Console console) {
    TextTable table = new TextTable("task", "rows", "tokens", "mean nll", "perplexity");
    table.row(
        "perplexity",
        Integer.toString(result.n()),
        Long.toString(result.tokens()),
        Units.format("%.4f", result.meanNll()),
        Units.format("%.4f", result.perplexity()));
    console.out().print(table);
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("task", "perplexity");
    json.put("n", result.n());
    json.put("mean_nll", result.meanNll());
    json.put("perplexity", result.perplexity());
    json.put("tokens", result.tokens());
    return json;
  }

  /** How rows become sequences for perplexity; what was not said is empty. */
  private record Sequences(
      Optional<PromptTemplate> template, Optional<Integer> cutoffLen, boolean trainOnInputs) {
    static Sequences of(Arguments arguments, Path adapter) throws IOException {
      Sequences run = ofRun(adapter);
      Optional<Integer> cutoff =
          arguments.given("cutoff-len")
              ? Optional.of(arguments.integer("cutoff-len", DEFAULT_CUTOFF, 1))
              : run.cutoffLen;
      return new Sequences(
          arguments.chosen("prompt-template", PromptTemplate.class).or(() -> run.template),
          cutoff,
          arguments.given("train-on-inputs") || run.trainOnInputs);
    }

    /** What the run says that the adapter comes from; its best/ and checkpoints lie below it. */
    private static Sequences ofRun(Path adapter) throws IOException {
      Path folder = adapter == null ? null : adapter.toAbsolutePath().normalize();
      for (int up = 0; up < 3 && folder != null; up++, folder = folder.getParent()) {
        Path file = folder.resolve("run.json");
        if (Files.isRegularFile(file)) {
          StrictJson options = StrictJson.read(file).object("options");
          return new Sequences(
              Optional.of(PromptTemplate.named(options.string("prompt_template"))),
              Optional.of(options.integer("cutoff_len", 1, Integer.MAX_VALUE)),
              options.bool("train_on_inputs"));
        }
      }
      return new Sequences(Optional.empty(), Optional.empty(), false);
    }

    SequenceBuilder builder(LoadedModel loaded, Row.Kind kind) {
      return new SequenceBuilder(
          loaded.tokenizer(),
          template.orElse(PromptTemplate.defaultFor(kind)),
          cutoffLen.orElse(DEFAULT_CUTOFF),
          trainOnInputs);
    }
  }

  /** What the arguments ask for. */
  private record Plan(
      Path model,
      Path adapter,
      List<Path> data,
      String task,
      int beams,
      int limit,
      Path json,
      Sequences sequences,
      Machine machine) {
    static Plan of(Arguments a) throws IOException {
      Path model = a.requiredPath("model");
      a.required("data");
      a.required("task");
      String task = a.choice("task", TASKS);
      if (!task.equals("generate")) {
        a.refuse("is for --task generate alone: leave it out", "num-beams");
      }
      if (!task.equals("perplexity")) {
        a.refuse(
            "is for --task perplexity alone, the other tasks fix their own: leave it out",
            "cutoff-len",
            "prompt-template",
            "train-on-inputs");
      }
      Machine machine = Machine.of(a);
      int beams = a.integer("num-beams", 1, 1);
      int limit = a.given("limit") ? a.integer("limit", 1, 1) : 0;
      Path adapter = a.path("adapter").orElse(null);
      return new Plan(
          model,
          adapter,
          a.paths("data"),
          task,
          beams,
          limit,
          a.path("json").orElse(null),
          task.equals("perplexity") ? Sequences.of(a, adapter) : null,
          machine);
    }
  }
}
