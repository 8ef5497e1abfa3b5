package io.rora.train;

import io.rora.adapter.AdapterInit;
import io.rora.data.PromptTemplate;
import io.rora.kernels.DataType;
import io.rora.kernels.ScalingRule;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * Everything that a training run is told; the names are the command line's. Made by {@link
 * #builder}, which gives what is not set its default. Options that contradict each other, or are
 * wrong by themselves, are refused when it is built.
 *
 * @param model a Hugging Face directory or a GGUF file
 * @param data files of rows, at least one
 * @param out the run's directory
 * @param resume go on with the run that is in {@code out}
 * @param adapter what is trained
 * @param dropout probability with which an adapter's inputs are dropped
 * @param learningRate the highest, after warm-up
 * @param schedule what follows the warm-up
 * @param warmupSteps steps over which the rate rises
 * @param weightDecay decoupled, on every trained tensor
 * @param maxGradNorm gradients of a larger norm are scaled down to it; 0 is off
 * @param loraPlusRatio how much faster lora_B and magnitudes learn (arXiv:2402.12354)
 * @param batchSize rows of an optimiser step
 * @param microBatchSize rows computed at once, as {@link BatchPacker} says; empty: chosen. The
 *     result does not depend on it beyond rounding.
 * @param epochs passes over the data, unless {@code maxSteps} is given
 * @param maxSteps optimiser steps
 * @param cutoffLen most tokens of a sequence
 * @param trainOnInputs whether the prompt's tokens are supervised too
 * @param promptTemplate how rows become text; empty: by the rows
 * @param shuffle whether epochs are shuffled
 * @param packing whether documents fill micro batches by tokens instead of rows
 * @param dtype F32 or BF16: weights and activations
 * @param device cpu, or cuda[:i]
 * @param threads threads that compute; 0: all cores. The result does not depend on it.
 * @param seed of shuffling, initialisation and dropout
 * @param checkpointActivations what is recomputed to save memory
 * @param evalData rows to be evaluated on; may be empty
 * @param evalSteps steps between evaluations
 * @param saveSteps steps between checkpoints
 */
public record TrainOptions(
    Path model,
    List<Path> data,
    Path out,
    boolean resume,
    AdapterOptions adapter,
    double dropout,
    double learningRate,
    Schedule schedule,
    int warmupSteps,
    double weightDecay,
    double maxGradNorm,
    double loraPlusRatio,
    int batchSize,
    OptionalInt microBatchSize,
    double epochs,
    OptionalInt maxSteps,
    int cutoffLen,
    boolean trainOnInputs,
    Optional<PromptTemplate> promptTemplate,
    boolean shuffle,
    boolean packing,
    DataType dtype,
    String device,
    int threads,
    long seed,
    ActivationCheckpointing checkpointActivations,
    List<Path> evalData,
    int evalSteps,
    int saveSteps) {
  /** Copies the lists and checks every value. */
  public TrainOptions {
    data = List.copyOf(data);
    evalData = List.copyOf(evalData);
    require(!data.isEmpty(), "--data", "nothing", "name at least one file");
    atLeast("--warmup-steps", warmupSteps, 0);
    atLeast("--batch-size", batchSize, 1);
    atLeast("--cutoff-len", cutoffLen, 2);
    atLeast("--threads", threads, 0);
    atLeast("--eval-steps", evalSteps, 1);
    atLeast("--save-steps", saveSteps, 1);
    atLeast("--max-steps", maxSteps.orElse(1), 1);
    atLeast("--micro-batch-size", microBatchSize.orElse(1), 1);
    require(
        microBatchSize.orElse(1) <= batchSize,
        "--micro-batch-size",
        microBatchSize.orElse(1),
        "must be at most --batch-size, " + batchSize);
    positive("--lr", learningRate);
    positive("--epochs", epochs);
    positive("--lora-plus-ratio", loraPlusRatio);
    require(dropout >= 0 && dropout < 1, "--dropout", dropout, "must be at least 0 and below 1");
    notNegative("--weight-decay", weightDecay);
    notNegative("--max-grad-norm", maxGradNorm);
    require(dtype != DataType.F16, "--dtype", "fp16", "training computes in fp32 or bf16");
  }

  private static void atLeast(String option, int value, int least) {
    require(value >= least, option, value, "must be at least " + least);
  }

  private static void positive(String option, double value) {
    require(value > 0 && Double.isFinite(value), option, value, "must be above 0");
  }

  private static void notNegative(String option, double value) {
    require(value >= 0 && Double.isFinite(value), option, value, "must be at least 0");
  }

  private static void require(boolean holds, String option, Object value, String rule) {
    if (!holds) {
      throw new IllegalArgumentException(option + " " + value + ": " + rule);
    }
  }

  /** Returns a builder with nothing set. */
  public static Builder builder() {
    return new Builder();
  }

  /** Returns the same options with {@code resume} on, to go on with a run. */
  public TrainOptions resumed() {
    return new TrainOptions(
        model,
        data,
        out,
        true,
        adapter,
        dropout,
        learningRate,
        schedule,
        warmupSteps,
        weightDecay,
        maxGradNorm,
        loraPlusRatio,
        batchSize,
        microBatchSize,
        epochs,
        maxSteps,
        cutoffLen,
        trainOnInputs,
        promptTemplate,
        shuffle,
        packing,
        dtype,
        device,
        threads,
        seed,
        checkpointActivations,
        evalData,
        evalSteps,
        saveSteps);
  }

  /**
   * Collects options. Only what the user said is set: contradictions are seen by that, and with an
   * initial adapter so is what differs from it.
   */
  public static final class Builder {
    private Path model;
    private List<Path> data = List.of();
    private Path out;
    private boolean resume;
    private Method method;
    private ScalingRule scaling;
    private Integer rank;
    private Double alpha;
    private Double dropout;
    private Map<String, Integer> rankPattern;
    private Map<String, Double> alphaPattern;
    private List<String> targetModules;
    private AdapterInit init;
    private Path initAdapter;
    private double learningRate = 3e-4;
    private Schedule schedule = Schedule.LINEAR;
    private int warmupSteps;
    private double weightDecay;
    private double maxGradNorm = 1;
    private Double loraPlusRatio;
    private int batchSize = 16;
    private OptionalInt microBatchSize = OptionalInt.empty();
    private Double epochs;
    private OptionalInt maxSteps = OptionalInt.empty();
    private int cutoffLen = 256;
    private boolean trainOnInputs;
    private PromptTemplate promptTemplate;
    private boolean shuffle = true;
    private boolean packing = true;
    private DataType dtype = DataType.BF16;
    private String device = "cpu";
    private int threads;
    private long seed = 42;
    private ActivationCheckpointing checkpointActivations = ActivationCheckpointing.AUTO;
    private List<Path> evalData = List.of();
    private Integer evalSteps;
    private int saveSteps = 100;

    private Builder() {}

    /** {@code --model}, required. */
    public Builder model(Path value) {
      model = value;
      return this;
    }

    /** {@code --data}, required. */
    public Builder data(List<Path> value) {
      data = List.copyOf(value);
      return this;
    }

    /** {@code --data}, required. */
    public Builder data(Path... value) {
      return data(List.of(value));
    }

    /** {@code --out}, required. */
    public Builder out(Path value) {
      out = value;
      return this;
    }

    /** {@code --resume}. */
    public Builder resume(boolean value) {
      resume = value;
      return this;
    }

    /** {@code --method}: rora. */
    public Builder method(Method value) {
      method = value;
      return this;
    }

    /** {@code --scaling} of DoRA: lora. */
    public Builder scaling(ScalingRule value) {
      scaling = value;
      return this;
    }

    /** {@code --rank}: 32. */
    public Builder rank(int value) {
      rank = value;
      return this;
    }

    /** {@code --alpha}: 64. */
    public Builder alpha(double value) {
      alpha = value;
      return this;
    }

    /** {@code --dropout}: 0. */
    public Builder dropout(double value) {
      dropout = value;
      return this;
    }

    /** {@code --rank-pattern}: none. Its order decides which key wins. */
    public Builder rankPattern(Map<String, Integer> value) {
      rankPattern = value;
      return this;
    }

    /** {@code --alpha-pattern}: none. Its order decides which key wins. */
    public Builder alphaPattern(Map<String, Double> value) {
      alphaPattern = value;
      return this;
    }

    /** {@code --target-modules}: q_proj, k_proj, v_proj, up_proj, down_proj. */
    public Builder targetModules(List<String> value) {
      targetModules = List.copyOf(value);
      return this;
    }

    /** {@code --target-modules}. */
    public Builder targetModules(String... value) {
      return targetModules(List.of(value));
    }

    /** {@code --init}: kaiming. */
    public Builder init(AdapterInit value) {
      init = value;
      return this;
    }

    /** {@code --init-adapter}: none. */
    public Builder initAdapter(Path value) {
      initAdapter = value;
      return this;
    }

    /** {@code --lr}: 3e-4. */
    public Builder learningRate(double value) {
      learningRate = value;
      return this;
    }

    /** {@code --lr-scheduler}: linear. */
    public Builder schedule(Schedule value) {
      schedule = value;
      return this;
    }

    /** {@code --warmup-steps}: 0. */
    public Builder warmupSteps(int value) {
      warmupSteps = value;
      return this;
    }

    /** {@code --weight-decay}: 0. */
    public Builder weightDecay(double value) {
      weightDecay = value;
      return this;
    }

    /** {@code --max-grad-norm}: 1; 0 is off. */
    public Builder maxGradNorm(double value) {
      maxGradNorm = value;
      return this;
    }

    /** {@code --lora-plus-ratio}: 1. */
    public Builder loraPlusRatio(double value) {
      loraPlusRatio = value;
      return this;
    }

    /** {@code --batch-size}: 16. */
    public Builder batchSize(int value) {
      batchSize = value;
      return this;
    }

    /** {@code --micro-batch-size}: automatic. */
    public Builder microBatchSize(int value) {
      microBatchSize = OptionalInt.of(value);
      return this;
    }

    /** {@code --epochs}: 3. */
    public Builder epochs(double value) {
      epochs = value;
      return this;
    }

    /** {@code --max-steps}: by the epochs. */
    public Builder maxSteps(int value) {
      maxSteps = OptionalInt.of(value);
      return this;
    }

    /** {@code --cutoff-len}: 256. */
    public Builder cutoffLen(int value) {
      cutoffLen = value;
      return this;
    }

    /** {@code --train-on-inputs}. */
    public Builder trainOnInputs(boolean value) {
      trainOnInputs = value;
      return this;
    }

    /** {@code --prompt-template}: by the rows. */
    public Builder promptTemplate(PromptTemplate value) {
      promptTemplate = value;
      return this;
    }

    /** The opposite of {@code --no-shuffle}. */
    public Builder shuffle(boolean value) {
      shuffle = value;
      return this;
    }

    /** The opposite of {@code --no-packing}. */
    public Builder packing(boolean value) {
      packing = value;
      return this;
    }

    /** {@code --dtype}: bf16. */
    public Builder dtype(DataType value) {
      dtype = value;
      return this;
    }

    /** {@code --device}: cpu. */
    public Builder device(String value) {
      device = value;
      return this;
    }

    /** {@code --threads}: 0, all cores. */
    public Builder threads(int value) {
      threads = value;
      return this;
    }

    /** {@code --seed}: 42. */
    public Builder seed(long value) {
      seed = value;
      return this;
    }

    /** {@code --checkpoint-activations}: auto. */
    public Builder checkpointActivations(ActivationCheckpointing value) {
      checkpointActivations = value;
      return this;
    }

    /** {@code --eval-data}: none. */
    public Builder evalData(List<Path> value) {
      evalData = List.copyOf(value);
      return this;
    }

    /** {@code --eval-data}: none. */
    public Builder evalData(Path... value) {
      return evalData(List.of(value));
    }

    /** {@code --eval-steps}: 100. */
    public Builder evalSteps(int value) {
      evalSteps = value;
      return this;
    }

    /** {@code --save-steps}: 100. */
    public Builder saveSteps(int value) {
      saveSteps = value;
      return this;
    }

    /**
     * Checks and returns the options.
     *
     * @throws IllegalArgumentException naming the option that is missing, wrong or contradicted
     */
    public TrainOptions build() {
      require(model != null, "--model", "is missing", "name a directory or a GGUF file");
      require(out != null, "--out", "is missing", "name the run's directory");
      AdapterOptions adapter = adapterOptions();
      require(
          epochs == null || maxSteps.isEmpty(),
          "--epochs",
          epochs,
          "contradicts --max-steps; give one of them");
      require(
          evalSteps == null || !evalData.isEmpty(), "--eval-steps", evalSteps, "needs --eval-data");
      return new TrainOptions(
          model,
          data,
          out,
          resume,
          adapter,
          dropout == null ? 0 : dropout,
          learningRate,
          schedule,
          warmupSteps,
          weightDecay,
          maxGradNorm,
          loraPlusRatio == null ? 1 : loraPlusRatio,
          batchSize,
          microBatchSize,
          epochs == null ? 3 : epochs,
          maxSteps,
          cutoffLen,
          trainOnInputs,
          Optional.ofNullable(promptTemplate),
          shuffle,
          packing,
          dtype,
          device,
          threads,
          seed,
          checkpointActivations,
          evalData,
          evalSteps == null ? 100 : evalSteps,
          saveSteps);
    }

    private AdapterOptions adapterOptions() {
      if (method == Method.FULL && (dropout != null || loraPlusRatio != null)) {
        throw AdapterOptions.withFull(dropout != null ? "--dropout" : "--lora-plus-ratio");
      }
      return new AdapterOptions(
          Optional.ofNullable(method),
          Optional.ofNullable(scaling),
          Optional.ofNullable(rank),
          Optional.ofNullable(alpha),
          Optional.ofNullable(rankPattern),
          Optional.ofNullable(alphaPattern),
          Optional.ofNullable(targetModules),
          Optional.ofNullable(init),
          Optional.ofNullable(initAdapter));
    }
  }
}
