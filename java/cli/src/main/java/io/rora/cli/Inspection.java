package io.rora.cli;

import io.rora.adapter.AdapterConfig;
import io.rora.adapter.AdapterModule;
import io.rora.adapter.SavedAdapter;
import io.rora.config.ModelConfig;
import io.rora.config.StrictJson;
import io.rora.kernels.ScalingRule;
import io.rora.model.WeightSource;
import io.rora.safetensors.SafetensorsFile;
import io.rora.safetensors.TensorInfo;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.stream.Stream;

/** What {@code rora inspect} finds, both for people and as JSON. */
final class Inspection {
  private final Map<String, Object> json = new LinkedHashMap<>();
  private final StringBuilder text = new StringBuilder();
  private final ZeroCount zeroCount = new ZeroCount();
  private final Progress progress;

  private Inspection(Progress progress) {
    this.progress = progress;
  }

  /**
   * Looks at a model directory, a GGUF or safetensors file, an adapter or a run.
   *
   * @throws IOException if it is none of them, or damaged
   */
  static Inspection of(Path path, Progress progress) throws IOException {
    Inspection inspection = new Inspection(progress);
    boolean directory = Files.isDirectory(path);
    if (!directory && path.toString().endsWith(".safetensors")) {
      inspection.put("kind", "safetensors");
      inspection.put("path", path.toString());
      inspection.files(List.of(path));
      inspection.safetensors(path);
    } else if (directory && isAdapter(path)) {
      inspection.adapter(path);
    } else {
      inspection.model(path);
    }
    return inspection;
  }

  private static boolean isAdapter(Path path) {
    boolean run = Files.isRegularFile(path.resolve("run.json"));
    boolean model = Files.isRegularFile(path.resolve("config.json"));
    return Files.isRegularFile(path.resolve(AdapterConfig.FILE)) || (run && !model);
  }

  /** Everything, keys in the order of the text. */
  Map<String, Object> json() {
    return json;
  }

  /** Everything, for people. */
  String text() {
    return text.toString();
  }

  private void put(String name, Object value) {
    json.put(name.replace(' ', '_'), value);
    text.append(Units.format("%-12s%s\n", name, ErrorReport.oneLine(String.valueOf(value))));
  }

  private void model(Path path) throws IOException {
    try (WeightSource source = WeightSource.open(path)) {
      put("kind", "model");
      put("path", path.toString());
      put("format", Files.isDirectory(path) ? "Hugging Face directory" : "GGUF file");
      config(source.config());
      if (Files.isDirectory(path)) {
        run(path);
        files(filesIn(path));
      } else {
        files(source.files());
      }
      weights(source);
    }
  }

  private void config(ModelConfig config) {
    Map<String, Object> fields = new LinkedHashMap<>();
    fields.put("architecture", config.architecture().className());
    fields.put("layers", config.layers());
    fields.put("hidden_size", config.hiddenSize());
    fields.put("intermediate_sizes", perLayer(config.intermediateSizes()));
    fields.put("attention_heads", perLayer(config.attentionHeads()));
    fields.put("key_value_heads", perLayer(config.keyValueHeads()));
    fields.put("head_dim", config.headDim());
    fields.put("vocab_size", config.vocabSize());
    fields.put("context", config.maxPositionEmbeddings());
    fields.put("tied_head", config.tieWordEmbeddings());
    fields.put("attention_bias", config.attentionBias());
    fields.put("mlp_bias", config.mlpBias());
    fields.put("rope_theta", config.rope().theta());
    fields.put(
        "rope_scaling",
        config.rope().scaling().getClass().getSimpleName().toLowerCase(Locale.ROOT));
    json.put("config", fields);
    fields.forEach((name, value) -> text.append(Units.format("  %-20s%s\n", name, value)));
  }

  /** One number where all layers agree. */
  private static Object perLayer(List<Integer> values) {
    return values.stream().distinct().count() == 1 ? values.get(0) : values;
  }

  private void weights(WeightSource source) throws IOException {
    List<Tensor> tensors = new ArrayList<>();
    int done = 0;
    for (String name : source.names()) {
      long[] shape = source.shape(name);
      List<Long> dimensions = new ArrayList<>();
      for (long size : shape) {
        dimensions.add(size);
      }
      OptionalLong zeros = OptionalLong.of(zeroCount.of(source, name));
      tensors.add(new Tensor(name, dimensions, source.describe(name), zeros));
      progress.onRows(++done, source.names().size());
    }
    tensors(tensors);
  }

  private void safetensors(Path path) throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      List<Tensor> tensors = new ArrayList<>();
      for (TensorInfo info : file.tensors().values()) {
        OptionalLong zeros = zeroCount.of(file, info);
        tensors.add(new Tensor(info.name(), info.shape(), info.type().name(), zeros));
        progress.onRows(tensors.size(), file.tensors().size());
      }
      tensors(tensors);
    }
  }

  private void adapter(Path path) throws IOException {
    put("kind", Files.isRegularFile(path.resolve("run.json")) ? "run" : "adapter");
    put("path", path.toString());
    run(path);
    if (!Files.isRegularFile(path.resolve(AdapterConfig.FILE))) {
      files(filesIn(path));
      return; // a run that has not finished: its adapter is in its checkpoints
    }
    try (SavedAdapter saved = SavedAdapter.open(path)) {
      AdapterConfig config = saved.config();
      put("base model", config.baseModel());
      put("method", method(config));
      put("rule", config.scaling() == ScalingRule.RORA ? "alpha / sqrt(r)" : "alpha / r");
      files(filesIn(path));
      modules(saved.modules(), config.dora());
    }
    safetensors(path.resolve(SavedAdapter.TENSORS));
  }

  private static String method(AdapterConfig config) {
    String rule = config.scaling() == ScalingRule.RORA ? "rora" : "lora";
    return config.dora() ? "dora, scaling " + rule : rule;
  }

  private void modules(List<AdapterModule> modules, boolean dora) {
    TextTable table = new TextTable("module", "r", "alpha", "gamma", "in", "out");
    List<Map<String, Object>> list = new ArrayList<>();
    long parameters = 0;
    for (AdapterModule module : modules) {
      parameters += module.parameters(dora);
      table.row(
          module.path(),
          Integer.toString(module.rank()),
          number(module.alpha()),
          Units.format("%.4f", module.gamma()),
          Integer.toString(module.inFeatures()),
          Integer.toString(module.outFeatures()));
      Map<String, Object> entry = new LinkedHashMap<>();
      entry.put("module", module.path());
      entry.put("r", module.rank());
      entry.put("alpha", module.alpha());
      entry.put("gamma", module.gamma());
      entry.put("in_features", module.inFeatures());
      entry.put("out_features", module.outFeatures());
      list.add(entry);
    }
    put("parameters", parameters);
    json.put("modules", list);
    text.append('\n').append(table).append('\n');
  }

  private static String number(double value) {
    return value == Math.rint(value) ? Long.toString((long) value) : Units.format("%.4f", value);
  }

  /** What the run's own files say, if there are any. */
  private void run(Path path) throws IOException {
    Path manifest = path.resolve("run.json");
    if (!Files.isRegularFile(manifest)) {
      return;
    }
    StrictJson run = StrictJson.read(manifest);
    put("steps", run.integer("steps", 0, Integer.MAX_VALUE));
    Path metrics = path.resolve("metrics.jsonl");
    if (Files.isRegularFile(metrics)) {
      lastStep(metrics);
    }
    put("best", Files.isDirectory(path.resolve("best")));
    put("checkpoints", names(path.resolve("checkpoints")));
  }

  private void lastStep(Path metrics) throws IOException {
    String last = null;
    try (Stream<String> lines = Files.lines(metrics)) {
      last = lines.filter(line -> line.contains("\"loss\"")).reduce((a, b) -> b).orElse(null);
    }
    if (last != null) {
      StrictJson step = StrictJson.parse(metrics.toString(), last);
      put("last step", step.integer("step", 0, Integer.MAX_VALUE));
      put("loss", step.number("loss"));
    }
  }

  private static List<String> names(Path directory) throws IOException {
    if (!Files.isDirectory(directory)) {
      return List.of();
    }
    try (Stream<Path> entries = Files.list(directory)) {
      return entries
          .map(entry -> entry.getFileName().toString())
          .filter(name -> !name.startsWith("."))
          .sorted()
          .toList();
    }
  }

  private static List<Path> filesIn(Path directory) throws IOException {
    try (Stream<Path> entries = Files.list(directory)) {
      return entries
          .filter(entry -> Files.isRegularFile(entry, LinkOption.NOFOLLOW_LINKS))
          .sorted()
          .toList();
    }
  }

  private void files(List<Path> files) throws IOException {
    List<Map<String, Object>> list = new ArrayList<>();
    text.append("files\n");
    for (Path file : files) {
      long bytes = Files.size(file);
      String name = file.getFileName().toString();
      list.add(Map.of("name", name, "bytes", bytes));
      text.append(Units.format("  %-32s%s\n", ErrorReport.oneLine(name), Units.bytes(bytes)));
    }
    json.put("files", list);
  }

  /** A tensor as it stands in its file; zeros are not counted in types that we do not compute. */
  private record Tensor(String name, List<Long> shape, String type, OptionalLong zeros) {
    long elements() {
      return shape.stream().reduce(1L, Math::multiplyExact);
    }

    String sparsity() {
      return zeros.isEmpty() || elements() == 0
          ? "-"
          : Units.percent((double) zeros.getAsLong() / elements());
    }
  }

  private void tensors(List<Tensor> tensors) {
    TextTable table = new TextTable("tensor", "shape", "type", "zeros");
    List<Map<String, Object>> list = new ArrayList<>();
    Map<String, Integer> types = new TreeMap<>();
    long elements = 0;
    long zeros = 0;
    for (Tensor tensor : tensors) {
      elements += tensor.elements();
      zeros += tensor.zeros().orElse(0);
      types.merge(tensor.type(), 1, Integer::sum);
      table.row(tensor.name(), shape(tensor.shape()), tensor.type(), tensor.sparsity());
      Map<String, Object> entry = new LinkedHashMap<>();
      entry.put("name", tensor.name());
      entry.put("shape", tensor.shape());
      entry.put("type", tensor.type());
      entry.put("zeros", tensor.zeros().isPresent() ? tensor.zeros().getAsLong() : null);
      list.add(entry);
    }
    double sparsity = elements == 0 ? 0 : (double) zeros / elements;
    json.put("types", types);
    json.put("elements", elements);
    json.put("sparsity", sparsity);
    json.put("tensors", list);
    text.append(
        Units.format("%-12s%d, %s values\n", "tensors", tensors.size(), Units.count(elements)));
    text.append(Units.format("%-12s%s\n", "types", types));
    text.append(Units.format("%-12s%s zeros\n\n", "sparsity", Units.percent(sparsity)));
    text.append(table);
  }

  private static String shape(List<Long> shape) {
    return String.join(" x ", shape.stream().map(String::valueOf).toList());
  }
}
