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
      Generation generation =
          generator.generate(prompt, options, json ? TextListener.none() : printer(console));
      console.out().println(json ? json(generation) : "");
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

  private static TextListener printer(Console console) {
    return piece -> {
      console.out().print(piece);
      return !console.out().checkError(); // nobody reads any more
    };
  }

  private static String json(Generation generation) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("prompt_ids", generation.promptIds());
    json.put("token_ids", generation.tokenIds());
    json.put("text", generation.text());
    return JsonText.line(json);
  }
}
