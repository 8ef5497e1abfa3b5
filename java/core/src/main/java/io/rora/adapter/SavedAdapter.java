package io.rora.adapter;

import io.rora.config.ModelConfig;
import io.rora.files.FileFormatException;
import io.rora.safetensors.SafetensorsFile;
import io.rora.safetensors.TensorInfo;
import java.io.Closeable;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * An adapter on disk in PEFT's layout: {@code adapter_config.json} and {@code
 * adapter_model.safetensors}. Opening it checks that every tensor belongs to a module that the
 * configuration names and has the rank that it says; {@link #requireFor} checks it against a model.
 * Tensors are read one at a time.
 */
public final class SavedAdapter implements Closeable {
  /** The tensors' file in an adapter's directory. */
  public static final String TENSORS = "adapter_model.safetensors";

  private static final Pattern NAME =
      Pattern.compile(
          "base_model\\.model\\.(.+)\\.(lora_A\\.weight|lora_B\\.weight|lora_magnitude_vector)");
  private static final Pattern PROJECTION =
      Pattern.compile("model\\.layers\\.\\d+\\.(?:self_attn|mlp)\\.[a-z]+_proj");

  private final Path directory;
  private final AdapterConfig config;
  private final SafetensorsFile tensors;
  private final List<AdapterModule> modules;

  private SavedAdapter(Path directory, AdapterConfig config, SafetensorsFile tensors)
      throws IOException {
    this.directory = directory;
    this.config = config;
    this.tensors = tensors;
    this.modules = modulesOf();
  }

  /**
   * Opens an adapter.
   *
   * @param directory a run's directory, its {@code best}, one of its checkpoints, or any directory
   *     in PEFT's layout
   * @throws FileFormatException if it is none of these, or anything in it is not what it must be
   */
  public static SavedAdapter open(Path directory) throws IOException {
    requireAdapter(directory);
    AdapterConfig config = AdapterConfig.read(directory.resolve(AdapterConfig.FILE));
    SafetensorsFile tensors = SafetensorsFile.open(directory.resolve(TENSORS));
    try {
      return new SavedAdapter(directory, config, tensors);
    } catch (IOException | RuntimeException e) {
      tensors.close();
      throw e;
    }
  }

  private static void requireAdapter(Path directory) throws IOException {
    if (Files.isRegularFile(directory.resolve(AdapterConfig.FILE))) {
      return;
    }
    if (!Files.isDirectory(directory)) {
      throw new FileFormatException(directory, "there is no such directory; name an adapter's");
    }
    if (Files.isRegularFile(directory.resolve("config.json"))) {
      throw new FileFormatException(
          directory, "is a whole model, not an adapter; use it as --model, without --adapter");
    }
    if (Files.isDirectory(directory.resolve("checkpoints"))) {
      throw new FileFormatException(
          directory,
          "is an unfinished run without an adapter yet; resume it, or name one of its checkpoints");
    }
    throw new FileFormatException(
        directory, "holds no " + AdapterConfig.FILE + "; name a directory in PEFT's layout");
  }

  /** The directory it was opened from. */
  public Path directory() {
    return directory;
  }

  /** What adapter_config.json says. */
  public AdapterConfig config() {
    return config;
  }

  /** The modules that have tensors, layer by layer. */
  public List<AdapterModule> modules() {
    return modules;
  }

  /**
   * Checks that the adapter fits a model: every module that its configuration names there has its
   * tensors, of the right shapes, and no other has.
   */
  public void requireFor(ModelConfig model) throws IOException {
    Map<String, AdapterModule> found = new LinkedHashMap<>();
    modules.forEach(module -> found.put(module.path(), module));
    List<AdapterModule> expected;
    try {
      expected = config.modules(model);
    } catch (IllegalArgumentException e) {
      throw new FileFormatException(directory, e.getMessage());
    }
    for (AdapterModule module : expected) {
      AdapterModule actual = found.remove(module.path());
      if (actual == null) {
        throw fail(
            "has no tensors for "
                + module.path()
                + ", which its target_modules name in this model: it was made for another model");
      }
      if (!actual.equals(module)) {
        throw fail(
            module.path()
                + " is "
                + shape(actual)
                + " in the adapter and "
                + shape(module)
                + " in the model: it was made for another model");
      }
    }
    for (String path : found.keySet()) {
      throw fail(
          "has tensors for "
              + path
              + ", a module that this model does not have: it was made for another model");
    }
  }

  private static String shape(AdapterModule module) {
    return "[" + module.outFeatures() + ", " + module.inFeatures() + "]";
  }

  /** Reads lora_A [rank, in_features], row-major. */
  public float[] loraA(AdapterModule module) throws IOException {
    return tensors.readFloats(module.loraAName());
  }

  /** Reads lora_B [out_features, rank], row-major. */
  public float[] loraB(AdapterModule module) throws IOException {
    return tensors.readFloats(module.loraBName());
  }

  /** Reads DoRA's magnitudes [out_features]. */
  public float[] magnitude(AdapterModule module) throws IOException {
    return tensors.readFloats(module.magnitudeName());
  }

  private List<AdapterModule> modulesOf() throws IOException {
    Set<String> paths = new TreeSet<>(SavedAdapter::compareByLayer);
    for (String name : tensors.tensors().keySet()) {
      paths.add(pathOf(name));
    }
    if (paths.isEmpty()) {
      throw new FileFormatException(tensors.path(), "holds no tensors");
    }
    List<AdapterModule> result = new ArrayList<>();
    for (String path : paths) {
      result.add(moduleOf(path));
    }
    return List.copyOf(result);
  }

  private String pathOf(String name) throws IOException {
    Matcher matcher = NAME.matcher(name);
    if (!matcher.matches()) {
      throw new FileFormatException(
          tensors.path(),
          name
              + ": rora knows no such tensor; only lora_A, lora_B and lora_magnitude_vector of"
              + " projections are implemented");
    }
    String path = matcher.group(1);
    if (!PROJECTION.matcher(path).matches()) {
      throw new FileFormatException(
          tensors.path(),
          name + ": adapters on " + path + " are not implemented, only on a layer's projections");
    }
    if (!config.targets().contains(path)) {
      throw new FileFormatException(
          tensors.path(), name + ": target_modules in " + AdapterConfig.FILE + " do not name it");
    }
    if (matcher.group(2).equals("lora_magnitude_vector") && !config.dora()) {
      throw new FileFormatException(
          tensors.path(), name + " is DoRA's, but use_dora is false in " + AdapterConfig.FILE);
    }
    return path;
  }

  private AdapterModule moduleOf(String path) throws IOException {
    AdapterModule names = config.module(path, 1, 1);
    List<Long> a = matrix(names.loraAName());
    List<Long> b = matrix(names.loraBName());
    AdapterModule module =
        config.module(path, Math.toIntExact(b.get(0)), Math.toIntExact(a.get(1)));
    requireShape(module.loraAName(), List.of((long) module.rank(), a.get(1)));
    requireShape(module.loraBName(), List.of(b.get(0), (long) module.rank()));
    if (config.dora()) {
      requireShape(module.magnitudeName(), List.of(b.get(0)));
    }
    return module;
  }

  private List<Long> matrix(String name) throws IOException {
    TensorInfo tensor = required(name);
    if (tensor.shape().size() != 2
        || tensor.shape().stream().anyMatch(n -> n < 1 || n > Integer.MAX_VALUE)) {
      throw new FileFormatException(
          tensors.path(), name + " has shape " + tensor.shape() + ", expected a matrix");
    }
    return tensor.shape();
  }

  private void requireShape(String name, List<Long> shape) throws IOException {
    TensorInfo tensor = required(name);
    tensors.floatingType(tensor);
    if (!tensor.shape().equals(shape)) {
      throw new FileFormatException(
          tensors.path(),
          name
              + " has shape "
              + tensor.shape()
              + ", by "
              + AdapterConfig.FILE
              + " it must have "
              + shape);
    }
  }

  private TensorInfo required(String name) throws IOException {
    TensorInfo tensor = tensors.tensors().get(name);
    if (tensor == null) {
      throw new FileFormatException(tensors.path(), "lacks the tensor " + name);
    }
    return tensor;
  }

  private FileFormatException fail(String problem) {
    return new FileFormatException(tensors.path(), problem);
  }

  /** Layer 2 comes before layer 10; within a layer by name. */
  private static int compareByLayer(String a, String b) {
    int byLayer = Integer.compare(layer(a), layer(b));
    return byLayer != 0 ? byLayer : a.compareTo(b);
  }

  private static int layer(String path) {
    String digits = path.split("\\.", 4)[2];
    return digits.length() > 9 ? Integer.MAX_VALUE : Integer.parseInt(digits);
  }

  /** Returns the tensors' names and shapes, for messages and listings. */
  public Map<String, List<Long>> shapes() {
    Map<String, List<Long>> shapes = new TreeMap<>();
    tensors.tensors().forEach((name, tensor) -> shapes.put(name, tensor.shape()));
    return shapes;
  }

  @Override
  public void close() throws IOException {
    tensors.close();
  }
}
