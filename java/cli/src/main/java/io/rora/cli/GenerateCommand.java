package io.rora.cli;

import io.rora.config.JsonText;
import io.rora.data.PromptTemplate;
import io.rora.generate.Generation;
import io.rora.generate.GenerationOptions;
import io.rora.generate.Generator;
import io.rora.generate.TextListener;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import org.apache.commons.cli.Options;

/** {@code rora generate}: continues a prompt. */
final class GenerateCommand implements Command {
  private static final int DEFAULT_TOKENS = 64;

  @Override
  public String name() {
    return "generate";
  }

  @Override
  public String summary() {
    return "Continue a prompt with a model, with or without an adapter.";
  }

  @Override
  public String usage() {
    return "--model M [--adapter D] --prompt TEXT [options]";
  }

  @Override
  public String example() {
    return "generate --model models/SmolLM2-135M --adapter runs/first --prompt \"The capital of\"";
  }

  @Override
  public Options options() {
    return new OptionTable()
        .model()
        .adapter()
        .value("prompt", "TEXT", "what to continue")
        .value(
            "prompt-template",
            "T",
            "plain: the prompt as it is; alpaca: as an instruction;"
                + " cloze: as a question (plain)")
        .value("max-new-tokens", "N", "most tokens to generate (64)")
        .value("temperature", "X", "0 takes the most likely token; above, tokens are drawn (0)")
        .value(
            "top-p", "P", "draw from the most likely tokens of this share of the probability (1)")
        .flag("json", "print {prompt_ids, token_ids, text} instead of the text")
        .machine()
        .help()
        .build();
  }

  @Override
  public void run(Arguments arguments, Console console) throws IOException {
    Path model = arguments.requiredPath("model");
    Path adapter = arguments.path("adapter").orElse(null);
    String prompt = prompt(arguments);
    Machine machine = Machine.of(arguments);
    GenerationOptions options = options(arguments, machine.seed());
    boolean json = arguments.given("json");
    try (LoadedModel loaded =
            LoadedModel.open(
                model,
                machine.dtype(),
                machine.device(),
                machine.threads(),
                new Progress(console, "loading"));
        LoadedModel.OpenAdapter open = loaded.adapter(adapter);
        Generator generator = new Generator(loaded.model(), loaded.tokenizer())) {
      generator.attach(open.adapters());
      Printer printer = new Printer(console, !json);
      Generation generation = generator.generate(prompt, options, printer);
      String speed = printer.speed(generation);
      console.out().println(json ? json(generation) : "");
      if (printer.promptRead()) {
        console.progress(speed);
      }
      if (generation.end() == Generation.End.CONTEXT_FULL) {
        console.warn("the model's context is full: the text ends there");
      }
    }
  }

  private static String prompt(Arguments arguments) {
    String prompt = arguments.required("prompt");
    return switch (arguments.choice("prompt-template", "plain", "alpaca", "cloze")) {
      case "alpaca" -> PromptTemplate.alpaca(prompt, "");
      case "cloze" -> "Question: " + prompt + "\nAnswer:";
      default -> prompt;
    };
  }

  private static GenerationOptions options(Arguments arguments, long seed) {
    double temperature = arguments.number("temperature", 0, 0, Double.MAX_VALUE);
    double topP = arguments.number("top-p", 1, 0, 1);
    if (topP == 0) {
      throw new UsageException("--top-p=0: must be above 0; --temperature 0 is greedy");
    }
    if (topP < 1 && temperature == 0) {
      throw new UsageException(
          "--top-p draws tokens, and --temperature 0 takes the most likely one:"
              + " give a --temperature above 0, or leave --top-p out");
    }
    int tokens = arguments.integer("max-new-tokens", DEFAULT_TOKENS, 1);
    return new GenerationOptions(tokens, temperature, topP, seed);
  }

  /** Prints the text as it comes, if asked to, and takes the time. */
  private static final class Printer implements TextListener {
    private static final double NANOS = 1e9;

    private final Console console;
    private final boolean prints;
    private final long begin = System.nanoTime();
    private long promptEnd = begin;

    Printer(Console console, boolean prints) {
      this.console = console;
      this.prints = prints;
    }

    @Override
    public void onPrompt(int tokens) {
      promptEnd = System.nanoTime();
    }

    @Override
    public boolean onText(String piece) {
      if (!prints) {
        return true;
      }
      console.out().print(piece);
      return !console.out().checkError(); // nobody reads any more
    }

    boolean promptRead() {
      return promptEnd != begin;
    }

    /** What has been done up to now, and how fast. */
    String speed(Generation generation) {
      long end = System.nanoTime();
      return "generate: prompt "
          + speed(generation.promptIds().size(), promptEnd - begin)
          + ", "
          + speed(generation.tokenIds().size(), end - promptEnd);
    }

    private static String speed(int tokens, long nanos) {
      double seconds = Math.max(1, nanos) / NANOS;
      return Units.format("%d tokens in %.2f s (%.0f tokens/s)", tokens, seconds, tokens / seconds);
    }
  }

  private static String json(Generation generation) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("prompt_ids", generation.promptIds());
    json.put("token_ids", generation.tokenIds());
    json.put("text", generation.text());
    return JsonText.line(json);
  }
}
