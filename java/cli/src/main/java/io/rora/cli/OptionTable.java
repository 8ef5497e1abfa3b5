package io.rora.cli;

import org.apache.commons.cli.Option;
import org.apache.commons.cli.Options;

/** Declares a command's options; help shows them in this order. */
final class OptionTable {
  private final Options options = new Options();

  /** An option with a value. */
  OptionTable value(String name, String argument, String description) {
    options.addOption(
        Option.builder().longOpt(name).hasArg().argName(argument).desc(description).get());
    return this;
  }

  /** An option without a value. */
  OptionTable flag(String name, String description) {
    options.addOption(Option.builder().longOpt(name).desc(description).get());
    return this;
  }

  /** {@code --model}. */
  OptionTable model() {
    return value("model", "M", "the base model: a Hugging Face directory or a GGUF file");
  }

  /** {@code --adapter}. */
  OptionTable adapter() {
    return value(
        "adapter", "D", "an adapter: a run, its best/ or checkpoints/step-N, or what PEFT wrote");
  }

  /** {@code --dtype}, {@code --device}, {@code --threads} and {@code --seed}. */
  OptionTable machine() {
    return value("dtype", "T", "fp32 or bf16: type of weights and activations (bf16)")
        .value("device", "D", "cpu, or cuda[:i] where that is built (cpu)")
        .value(
            "threads",
            "N",
            "threads that compute, 0 for all cores; results do not depend on it (0)")
        .value("seed", "N", "seed of everything random (42)");
  }

  /** {@code --help}, last. */
  OptionTable help() {
    return flag("help", "show this");
  }

  /** The options. */
  Options build() {
    return options;
  }
}
