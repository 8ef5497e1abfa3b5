package io.rora.model;

import io.rora.config.GenerationConfig;
import io.rora.config.ModelConfig;
import io.rora.files.FileFormatException;
import io.rora.kernels.DataType;
import io.rora.safetensors.SafetensorsFile;
import io.rora.safetensors.SafetensorsIndex;
import io.rora.safetensors.TensorInfo;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A Hugging Face model directory: config.json and safetensors, in one file or in shards. The files
 * stay open until it is closed.
 */
public final class HuggingFaceSource implements WeightSource {
  private static final String CONFIG = "config.json";
  private static final String SINGLE = "model.safetensors";
  private static final String HEAD = "lm_head.weight";
  private static final String EMBEDDING = "model.embed_tokens.weight";
  private static final int COMPARED_BYTES = 1 << 16;

  /** Safetensors that stand beside a model's weights and are none of them. */
  private static final Set<String> OTHER_FILES =
      Set.of("adapter_model.safetensors", "rora_mask.safetensors");

  /** Buffers that older versions of transformers saved; they follow from the configuration. */
  private static final Pattern DERIVED = Pattern.compile(".*\\.rotary_emb\\.inv_freq");

  private final Path directory;
  private final ModelConfig config;
  private final GenerationConfig generation;
  private final Set<String> names;
  private final List<Path> files = new ArrayList<>();
  private final Map<String, SafetensorsFile> open = new LinkedHashMap<>();
  private final Map<String, SafetensorsFile> fileOf = new LinkedHashMap<>();

  private HuggingFaceSource(Path directory) throws IOException {
    this.directory = directory;
    this.config = ModelConfig.fromHuggingFace(directory.resolve(CONFIG));
    this.generation = GenerationConfig.read(directory);
    this.names = config.tensorShapes().keySet();
  }

  /**
   * Opens a directory and checks all of it but the values.
   *
   * @throws FileFormatException saying which file is wrong, how, and what to do
   */
  public static HuggingFaceSource open(Path directory) throws IOException {
    if (!Files.exists(directory.resolve(CONFIG))) {
      throw new FileFormatException(
          directory, "there is no config.json in it" + adviceFor(directory));
    }
    HuggingFaceSource source = new HuggingFaceSource(directory);
    try {
      source.openFiles();
      source.check();
      return source;
    } catch (IOException | RuntimeException e) {
      source.close();
      throw e;
    }
  }

  private static String adviceFor(Path directory) throws IOException {
    if (Files.exists(directory.resolve("adapter_config.json"))) {
      return "; it is an adapter, give the model that it belongs to";
    }
    List<Path> gguf = find(directory, ".gguf");
    return gguf.isEmpty()
        ? "; give a Hugging Face model directory or a GGUF file"
        : "; to use a GGUF file give its own path, such as " + gguf.get(0);
  }

  private static List<Path> find(Path directory, String suffix) throws IOException {
    try (Stream<Path> entries = Files.list(directory)) {
      return entries.filter(path -> path.toString().endsWith(suffix)).sorted().toList();
    }
  }

  // ---- opening ----

  private void openFiles() throws IOException {
    files.add(directory.resolve(CONFIG));
    if (Files.exists(directory.resolve(SINGLE))) {
      add(SINGLE);
    } else if (Files.exists(directory.resolve(SafetensorsIndex.FILE_NAME))) {
      addShards();
    } else {
      addLoose();
    }
  }

  private void addShards() throws IOException {
    Path file = directory.resolve(SafetensorsIndex.FILE_NAME);
    files.add(file);
    SafetensorsIndex index = SafetensorsIndex.read(file);
    for (String shard : new TreeSet<>(index.shards().values())) {
      if (!Files.exists(directory.resolve(shard))) {
        throw new FileFormatException(
            directory,
            "the shard "
                + shard
                + ", which "
                + SafetensorsIndex.FILE_NAME
                + " names, is missing; fetch it");
      }
      add(shard);
    }
    for (Map.Entry<String, String> entry : index.shards().entrySet()) {
      if (fileOf.get(entry.getKey()) != open.get(entry.getValue())) {
        throw new FileFormatException(
            directory.resolve(entry.getValue()),
            "the tensor "
                + entry.getKey()
                + ", which "
                + SafetensorsIndex.FILE_NAME
                + " places there, is missing; fetch it again");
      }
    }
    for (String name : fileOf.keySet()) {
      if (!index.shards().containsKey(name) && !DERIVED.matcher(name).matches()) {
        throw new FileFormatException(
            fileOf.get(name).path(),
            "holds the tensor "
                + name
                + ", which "
                + SafetensorsIndex.FILE_NAME
                + " does not name; the shards are not of one model");
      }
    }
  }

  private void addLoose() throws IOException {
    List<Path> loose =
        find(directory, ".safetensors").stream()
            .filter(path -> !OTHER_FILES.contains(path.getFileName().toString()))
            .toList();
    if (loose.isEmpty()) {
      boolean pickled = !find(directory, ".bin").isEmpty();
      throw new FileFormatException(
          directory,
          "there are no *.safetensors files in it"
              + (pickled
                  ? "; *.bin files are not read: save the model with safe_serialization=True"
                  : "; fetch the model's weights"));
    }
    for (Path path : loose) {
      add(path.getFileName().toString());
    }
  }

  private void add(String name) throws IOException {
    SafetensorsFile file = SafetensorsFile.open(directory.resolve(name));
    open.put(name, file);
    files.add(file.path());
    for (String tensor : file.tensors().keySet()) {
      SafetensorsFile other = fileOf.putIfAbsent(tensor, file);
      if (other != null) {
        throw new FileFormatException(
            file.path(),
            "holds the tensor "
                + tensor
                + ", which "
                + other.path()
                + " holds too; remove one of them");
      }
    }
  }

  // ---- checks ----

  private void check() throws IOException {
    WeightFiles.check(
        directory.toString(), config, name -> fileOf.containsKey(name) ? info(name).shape() : null);
    for (String name : names) {
      fileOf.get(name).floatingType(info(name));
    }
    for (String name : new TreeSet<>(fileOf.keySet())) {
      if (name.equals(HEAD) && config.tieWordEmbeddings()) {
        requireEqualHead();
      } else if (!names.contains(name) && !DERIVED.matcher(name).matches()) {
        throw new FileFormatException(
            fileOf.get(name).path(),
            "holds the tensor "
                + name
                + ", which a model of this config.json does not have"
                + adviceFor(name));
      }
    }
    fileOf.keySet().retainAll(names);
  }

  private static String adviceFor(String name) {
    if (name.endsWith(".bias")) {
      return "; attention_bias and mlp_bias say which biases there are";
    }
    return "; only plain LLaMA weights are supported";
  }

  /**
   * A tied head that was saved nevertheless must be the embedding: otherwise it is not clear which
   * was meant.
   */
  private void requireEqualHead() throws IOException {
    TensorInfo head = info(HEAD);
    TensorInfo embedding = info(EMBEDDING);
    boolean equal = head.type() == embedding.type() && head.shape().equals(embedding.shape());
    for (long at = 0; equal && at < head.bytes(); at += COMPARED_BYTES) {
      int count = (int) Math.min(COMPARED_BYTES, head.bytes() - at);
      equal = bytes(HEAD, at, count).equals(bytes(EMBEDDING, at, count));
    }
    if (!equal) {
      throw new FileFormatException(
          fileOf.get(HEAD).path(),
          "holds a "
              + HEAD
              + " that differs from the embedding, while config.json ties them: set"
              + " tie_word_embeddings to false to use it, or remove it");
    }
  }

  private ByteBuffer bytes(String name, long offset, int count) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(count);
    fileOf.get(name).read(name, offset, bytes);
    return bytes.flip();
  }

  // ---- WeightSource ----

  @Override
  public Path path() {
    return directory;
  }

  @Override
  public List<Path> files() {
    return List.copyOf(files);
  }

  @Override
  public ModelConfig config() {
    return config;
  }

  @Override
  public List<Integer> stopTokenIds() {
    Set<Integer> ids = new LinkedHashSet<>(config.eosTokenIds());
    ids.addAll(generation.eosTokenIds());
    return List.copyOf(ids);
  }

  @Override
  public Collection<String> names() {
    return names;
  }

  @Override
  public boolean has(String name) {
    return fileOf.containsKey(name);
  }

  @Override
  public long[] shape(String name) {
    return info(name).shape().stream().mapToLong(Long::longValue).toArray();
  }

  @Override
  public DataType typeOf(String name) {
    return info(name).type().dataType().orElseThrow();
  }

  @Override
  public String describe(String name) {
    return info(name).type().name();
  }

  @Override
  public boolean quantised() {
    return false;
  }

  @Override
  public DataType storageType() {
    return WeightFiles.storageType(this);
  }

  @Override
  public void readRows(String name, long row, long rows, ByteBuffer target, DataType targetType)
      throws IOException {
    long length = WeightFiles.rowLength(shape(name), row, rows, target, targetType);
    SafetensorsFile file = fileOf.get(name);
    WeightFiles.readElements(
        (offset, bytes) -> file.read(name, offset, bytes),
        typeOf(name),
        row * length,
        rows * length,
        target,
        targetType,
        file.path() + ": " + name);
  }

  @Override
  public String sha256() throws IOException {
    return WeightFiles.sha256OfAll(files);
  }

  private TensorInfo info(String name) {
    SafetensorsFile file = fileOf.get(name);
    if (file == null) {
      throw new IllegalArgumentException(directory + ": there is no tensor " + name);
    }
    return file.tensors().get(name);
  }

  @Override
  public void close() throws IOException {
    for (SafetensorsFile file : open.values()) {
      file.close();
    }
  }
}
