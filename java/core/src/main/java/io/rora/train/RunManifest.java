package io.rora.train;

import com.fasterxml.jackson.databind.JsonNode;
import io.rora.adapter.AdapterConfig;
import io.rora.config.JsonText;
import io.rora.config.StrictJson;
import io.rora.data.DataSet;
import io.rora.data.PromptTemplate;
import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import io.rora.kernels.ScalingRule;
import io.rora.model.Checkpointing;
import java.io.IOException;
import java.nio.file.Path;
import java.time.Instant;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/**
 * {@code run.json}: every option as resolved, versions, seed, machine, and SHA-256 of data and
 * model. Written when the run begins; a resumed run must agree with it in everything that changes
 * the result.
 */
final class RunManifest {
  // Where files lie and how fast, often or carefully the work is done; files count by their
  // SHA-256.
  private static final Set<String> WITHOUT_EFFECT =
      Set.of(
          "model", "data", "eval_data", "out", "init_adapter", "threads", "save_steps", "epochs");

  private RunManifest() {}

  /** What a run comes to once its files are read. */
  record Resolved(
      TrainOptions options,
      AdapterConfig adapterOrNull,
      PromptTemplate template,
      int steps,
      String modelSha256,
      List<DataSet.DataFile> data,
      List<DataSet.DataFile> evalData,
      String initAdapterSha256) {}

  /** The size, the level and the instruction set that a run began with. */
  record Cut(int microBatchSize, Checkpointing checkpointing, String isa) {}

  /** The text of run.json. */
  static String json(Resolved run, Cut cut, RoraContext context, long totalMemory) {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("format", 1);
    json.put("options", options(run, cut));
    json.put("steps", run.steps());
    json.put("seed", run.options().seed());
    json.put("model", model(run));
    json.put("data", files(run.data()));
    json.put("eval_data", files(run.evalData()));
    json.put("init_adapter_sha256", run.initAdapterSha256());
    json.put("versions", versions());
    json.put("machine", machine(context, totalMemory));
    json.put("started", Instant.now().toString());
    return JsonText.pretty(json);
  }

  private static Map<String, Object> model(Resolved run) {
    Map<String, Object> model = new LinkedHashMap<>();
    model.put("path", run.options().model().toString());
    model.put("sha256", run.modelSha256());
    return model;
  }

  private static List<Map<String, Object>> files(List<DataSet.DataFile> data) {
    List<Map<String, Object>> files = new ArrayList<>();
    for (DataSet.DataFile file : data) {
      Map<String, Object> entry = new LinkedHashMap<>();
      entry.put("path", file.path().toString());
      entry.put("sha256", file.sha256());
      entry.put("rows", file.rows());
      files.add(entry);
    }
    return files;
  }

  private static Map<String, Object> versions() {
    String rora = RunManifest.class.getPackage().getImplementationVersion();
    Map<String, Object> versions = new LinkedHashMap<>();
    versions.put("rora", rora == null ? RoraContext.version() : rora);
    versions.put("kernels", RoraContext.version());
    versions.put("java", System.getProperty("java.version"));
    versions.put("vm", System.getProperty("java.vm.name"));
    return versions;
  }

  private static Map<String, Object> machine(RoraContext context, long totalMemory) {
    Map<String, Object> machine = new LinkedHashMap<>();
    machine.put("os", System.getProperty("os.name") + " " + System.getProperty("os.version"));
    machine.put("arch", System.getProperty("os.arch"));
    machine.put("cpu_features", RoraContext.cpuFeatures());
    machine.put("isa", context.isa());
    machine.put("cores", Runtime.getRuntime().availableProcessors());
    machine.put("threads", context.threads());
    machine.put("memory_bytes", totalMemory);
    return machine;
  }

  private static Map<String, Object> options(Resolved run, Cut cut) {
    TrainOptions o = run.options();
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("model", o.model().toString());
    json.put("data", paths(o.data()));
    json.put("out", o.out().toString());
    putAdapter(json, run);
    json.put("lr", o.learningRate());
    json.put("lr_scheduler", lower(o.schedule()));
    json.put("warmup_steps", o.warmupSteps());
    json.put("weight_decay", o.weightDecay());
    json.put("max_grad_norm", o.maxGradNorm());
    json.put("lora_plus_ratio", o.loraPlusRatio());
    json.put("batch_size", o.batchSize());
    json.put("micro_batch_size", cut.microBatchSize());
    json.put("epochs", o.maxSteps().isPresent() ? null : o.epochs());
    json.put("max_steps", run.steps());
    json.put("cutoff_len", o.cutoffLen());
    json.put("train_on_inputs", o.trainOnInputs());
    json.put("prompt_template", run.template().optionName());
    json.put("no_shuffle", !o.shuffle());
    json.put("no_packing", !o.packing());
    json.put("dtype", o.dtype() == DataType.F32 ? "fp32" : "bf16");
    json.put("device", o.device());
    json.put("threads", o.threads());
    json.put("seed", o.seed());
    json.put("checkpoint_activations", lower(cut.checkpointing()));
    json.put("eval_data", paths(o.evalData()));
    json.put("eval_steps", o.evalData().isEmpty() ? null : o.evalSteps());
    json.put("save_steps", o.saveSteps());
    return json;
  }

  private static void putAdapter(Map<String, Object> json, Resolved run) {
    AdapterOptions said = run.options().adapter();
    AdapterConfig config = run.adapterOrNull();
    if (config == null) {
      json.put("method", "full");
      return;
    }
    boolean rora = config.scaling() == ScalingRule.RORA;
    json.put("method", config.dora() ? "dora" : rora ? "rora" : "lora");
    json.put("scaling", lower(config.scaling()));
    json.put("rank", config.rank());
    json.put("alpha", config.alpha());
    json.put("dropout", run.options().dropout());
    json.put("rank_pattern", config.rankPattern());
    json.put("alpha_pattern", config.alphaPattern());
    json.put(
        "target_modules",
        config.targets().allLinear() ? List.of("all-linear") : config.targets().names());
    json.put("target_regex", config.targets().regex());
    json.put("init", said.initAdapter().isPresent() ? null : lower(said.initOrDefault()));
    json.put("init_adapter", said.initAdapter().map(Path::toString).orElse(null));
  }

  private static List<String> paths(List<Path> paths) {
    return paths.stream().map(Path::toString).toList();
  }

  private static String lower(Enum<?> value) {
    return value.name().toLowerCase(Locale.ROOT);
  }

  /**
   * Checks that a run to be resumed has the options that it began with, and returns how its batches
   * were cut.
   *
   * @throws TrainingException naming the first option that would change the result
   */
  static Cut requireSame(Path file, Resolved run) throws IOException {
    StrictJson stored = StrictJson.read(file);
    StrictJson before = stored.object("options");
    Cut began =
        new Cut(
            before.integer("micro_batch_size", 1, Integer.MAX_VALUE),
            level(before),
            stored.object("machine").string("isa"));
    TrainOptions options = run.options();
    Cut wanted =
        new Cut(
            options.microBatchSize().orElse(began.microBatchSize()),
            options.checkpointActivations().level().orElse(began.checkpointing()),
            began.isa());
    StrictJson now = StrictJson.parse("options", JsonText.line(options(run, wanted)));
    for (String name : now.fields()) {
      if (!WITHOUT_EFFECT.contains(name)) {
        requireSame("--" + name.replace('_', '-'), before.node(name), now.node(name));
      }
    }
    requireSameFiles(stored, run);
    return began;
  }

  private static Checkpointing level(StrictJson options) throws IOException {
    String name = options.string("checkpoint_activations");
    for (Checkpointing level : Checkpointing.values()) {
      if (lower(level).equals(name)) {
        return level;
      }
    }
    throw options.error(
        "checkpoint_activations", "is \"" + name + "\", expected none, mlp or layer");
  }

  private static void requireSame(String option, JsonNode before, JsonNode now) {
    String was = before == null ? "null" : before.toString();
    String is = now == null ? "null" : now.toString();
    if (!was.equals(is)) {
      throw new TrainingException(
          option
              + " was "
              + was
              + " when this run began and is "
              + is
              + " now; resume with the same options, or start another run in another --out");
    }
  }

  private static void requireSameFiles(StrictJson stored, Resolved run) throws IOException {
    if (!stored.object("model").string("sha256").equals(run.modelSha256())) {
      throw changed("--model");
    }
    if (!sums(stored.objects("data")).equals(sumsOf(run.data()))) {
      throw changed("--data");
    }
    if (!sums(stored.objects("eval_data")).equals(sumsOf(run.evalData()))) {
      throw changed("--eval-data");
    }
    String init = stored.string("init_adapter_sha256", null);
    if (!Objects.equals(init, run.initAdapterSha256())) {
      throw changed("--init-adapter");
    }
  }

  private static TrainingException changed(String option) {
    return new TrainingException(
        option
            + ": the files are not those that this run began with (their SHA-256 in run.json"
            + " differs); resume with the same files, or start another run in another --out");
  }

  private static List<String> sums(List<StrictJson> files) throws IOException {
    List<String> sums = new ArrayList<>();
    for (StrictJson file : files) {
      sums.add(file.string("sha256"));
    }
    return sums;
  }

  private static List<String> sumsOf(List<DataSet.DataFile> data) {
    return data.stream().map(DataSet.DataFile::sha256).toList();
  }
}
