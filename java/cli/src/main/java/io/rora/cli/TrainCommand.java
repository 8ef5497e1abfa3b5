package io.rora.cli;

import io.rora.adapter.AdapterInit;
import io.rora.data.PromptTemplate;
import io.rora.kernels.ScalingRule;
import io.rora.train.ActivationCheckpointing;
import io.rora.train.Method;
import io.rora.train.Schedule;
import io.rora.train.TrainOptions;
import io.rora.train.TrainResult;
import io.rora.train.Trainer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.apache.commons.cli.Options;

/** {@code rora train}: fine-tunes a model. */
final class TrainCommand implements Command {
  @Override
  public String name() {
    return "train";
  }

  @Override
  public String summary() {
    return "Fine-tune a model with RoRA, LoRA or DoRA adapters, or all of its weights.";
  }

  @Override
  public String usage() {
    return "--model M --data F[,F] --out D [options]";
  }

  @Override
  public String example() {
    return "train --model models/SmolLM2-135M --data train.jsonl --eval-data test.jsonl"
        + " --prompt-template cloze --rank 16 --alpha 32 --max-steps 140 --out runs/first";
  }

  @Override
  public Options options() {
    OptionTable table =
        new OptionTable()
            .model()
            .value(
                "data",
                "F[,F]",
                "JSON or JSONL rows: instruction/input/output," + " prompt/completion, or text")
            .value("out", "D", "the run's directory, absent or empty; the adapter ends up there")
            .flag("resume", "go on with the run in --out from its newest checkpoint");
    adapterOptions(table);
    optimiserOptions(table);
    dataOptions(table);
    return table
        .machine()
        .value(
            "checkpoint-activations",
            "L",
            "none, mlp, layer: what is recomputed to save memory," + " or auto (auto)")
        .value(
            "eval-data", "F[,F]", "rows to evaluate on; the best adapter is kept in best/ (none)")
        .value("eval-steps", "N", "steps between evaluations (100)")
        .value("save-steps", "N", "steps between checkpoints (100)")
        .flag("keep-sparsity", "train without filling the base's zeros; not available yet")
        .help()
        .build();
  }

  private static void adapterOptions(OptionTable table) {
    table
        .value(
            "method",
            "M",
            "rora: alpha / sqrt(rank); lora: alpha / rank; dora; full: every" + " weight (rora)")
        .value("scaling", "S", "with --method dora: lora or rora (lora)")
        .value("rank", "R", "rank of the adapters (32)")
        .value("alpha", "A", "numerator of the scaling (64)")
        .value("dropout", "P", "share of the adapters' inputs dropped in training (0)")
        .value("rank-pattern", "K=V,..", "ranks by module, a regex as in PEFT (none)")
        .value("alpha-pattern", "K=V,..", "alphas by module, likewise (none)")
        .value(
            "target-modules",
            "M,..",
            "module names, or all-linear" + " (q_proj,k_proj,v_proj,up_proj,down_proj)")
        .value("init", "I", "kaiming, gaussian or pissa (kaiming)")
        .value("init-adapter", "D", "start from this adapter's tensors and configuration (none)");
  }

  private static void optimiserOptions(OptionTable table) {
    table
        .value("lr", "X", "highest learning rate (3e-4)")
        .value("lr-scheduler", "S", "constant, linear or cosine (linear)")
        .value("warmup-steps", "N", "steps over which the rate rises (0)")
        .value("weight-decay", "X", "AdamW's, decoupled (0)")
        .value("max-grad-norm", "X", "gradients are clipped to this norm; 0 is off (1)")
        .value("lora-plus-ratio", "X", "learning rate of lora_B over that of lora_A (1)")
        .value("batch-size", "N", "rows of an optimiser step (16)")
        .value(
            "micro-batch-size",
            "N",
            "rows computed at once; changes the result by rounding only" + " (automatic)")
        .value("epochs", "X", "passes over the data (3)")
        .value("max-steps", "N", "optimiser steps, in place of --epochs");
  }

  private static void dataOptions(OptionTable table) {
    table
        .value("cutoff-len", "N", "most tokens of a row (256)")
        .flag("train-on-inputs", "learn the prompts too")
        .value("prompt-template", "T", "alpaca, cloze or plain (by the rows)")
        .flag("no-shuffle", "keep the file's order")
        .flag("no-packing", "fill micro batches by rows instead of tokens");
  }

  @Override
  public void run(Arguments arguments, Console console) throws IOException {
    TrainOptions options = trainOptions(arguments);
    TrainResult result;
    try (Interrupt interrupt = Interrupt.listen(console);
        TrainProgress progress = new TrainProgress(console, "train", interrupt)) {
      result = Trainer.run(options, progress);
    }
    console.out().print(summary(arguments, result));
    if (result.status() == TrainResult.Status.CANCELLED) {
      throw new FailureException(
          "stopped after step "
              + result.step()
              + " of "
              + result.steps()
              + ": go on with the same command and --resume");
    }
  }

  private static String summary(Arguments arguments, TrainResult result) {
    StringBuilder text = new StringBuilder();
    text.append(Units.format("steps     %d of %d\n", result.step(), result.steps()));
    result.loss().ifPresent(loss -> text.append(Units.format("loss      %.4f\n", loss)));
    result.bestLoss().ifPresent(loss -> text.append(Units.format("best      %.4f\n", loss)));
    text.append("written   ").append(result.out()).append('\n');
    boolean full = arguments.text("method").orElse("").equals("full");
    String use =
        full
            ? " --model " + result.out()
            : " --model " + arguments.required("model") + " --adapter " + result.out();
    return text.append("try       rora generate")
        .append(use)
        .append(" --prompt \"...\"\n")
        .toString();
  }

  /** What the arguments ask for; contradictions among them are usage errors. */
  static TrainOptions trainOptions(Arguments a) {
    if (a.given("keep-sparsity")) {
      throw new UsageException(
          "--keep-sparsity is not available yet: leave it out, or keep to dense models");
    }
    TrainOptions.Builder builder =
        TrainOptions.builder()
            .model(a.requiredPath("model"))
            .data(requiredPaths(a, "data"))
            .out(a.requiredPath("out"))
            .resume(a.given("resume"));
    setAdapter(a, builder);
    setOptimiser(a, builder);
    setData(a, builder);
    setMachine(a, builder);
    try {
      return builder.build();
    } catch (IllegalArgumentException e) {
      throw new UsageException(e.getMessage());
    }
  }

  private static List<Path> requiredPaths(Arguments a, String name) {
    a.required(name);
    return a.paths(name);
  }

  private static void setAdapter(Arguments a, TrainOptions.Builder builder) {
    a.chosen("method", Method.class).ifPresent(builder::method);
    a.chosen("scaling", ScalingRule.class).ifPresent(builder::scaling);
    a.ifInteger("rank", 1, builder::rank);
    a.ifNumber("alpha", builder::alpha);
    a.ifNumber("dropout", builder::dropout);
    if (a.given("rank-pattern")) {
      builder.rankPattern(ranks(a));
    }
    if (a.given("alpha-pattern")) {
      builder.alphaPattern(alphas(a));
    }
    if (a.given("target-modules")) {
      builder.targetModules(a.list("target-modules"));
    }
    a.chosen("init", AdapterInit.class).ifPresent(builder::init);
    a.path("init-adapter").ifPresent(builder::initAdapter);
  }

  private static Map<String, Integer> ranks(Arguments a) {
    Map<String, Integer> ranks = new LinkedHashMap<>();
    a.pairs("rank-pattern")
        .forEach(
            (key, value) ->
                ranks.put(
                    key,
                    (int)
                        Arguments.asInteger("--rank-pattern " + key, value, 1, Integer.MAX_VALUE)));
    return ranks;
  }

  private static Map<String, Double> alphas(Arguments a) {
    Map<String, Double> alphas = new LinkedHashMap<>();
    a.pairs("alpha-pattern")
        .forEach(
            (key, value) ->
                alphas.put(
                    key, Arguments.asNumber("--alpha-pattern " + key, value, 0, Double.MAX_VALUE)));
    return alphas;
  }

  private static void setOptimiser(Arguments a, TrainOptions.Builder builder) {
    a.ifNumber("lr", builder::learningRate);
    a.chosen("lr-scheduler", Schedule.class).ifPresent(builder::schedule);
    a.ifInteger("warmup-steps", 0, builder::warmupSteps);
    a.ifNumber("weight-decay", builder::weightDecay);
    a.ifNumber("max-grad-norm", builder::maxGradNorm);
    a.ifNumber("lora-plus-ratio", builder::loraPlusRatio);
    a.ifInteger("batch-size", 1, builder::batchSize);
    a.ifInteger("micro-batch-size", 1, builder::microBatchSize);
    a.ifNumber("epochs", builder::epochs);
    a.ifInteger("max-steps", 1, builder::maxSteps);
  }

  private static void setData(Arguments a, TrainOptions.Builder builder) {
    a.ifInteger("cutoff-len", 1, builder::cutoffLen);
    builder.trainOnInputs(a.given("train-on-inputs"));
    a.chosen("prompt-template", PromptTemplate.class).ifPresent(builder::promptTemplate);
    builder.shuffle(!a.given("no-shuffle"));
    builder.packing(!a.given("no-packing"));
    if (a.given("eval-data")) {
      builder.evalData(a.paths("eval-data"));
    }
    a.ifInteger("eval-steps", 1, builder::evalSteps);
    a.ifInteger("save-steps", 1, builder::saveSteps);
  }

  private static void setMachine(Arguments a, TrainOptions.Builder builder) {
    Machine machine = Machine.of(a);
    builder
        .dtype(machine.dtype())
        .device(machine.device())
        .threads(machine.threads())
        .seed(machine.seed());
    a.chosen("checkpoint-activations", ActivationCheckpointing.class)
        .ifPresent(builder::checkpointActivations);
  }
}
