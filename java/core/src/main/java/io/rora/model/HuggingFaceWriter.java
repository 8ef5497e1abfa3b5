package io.rora.model;

import static java.nio.charset.StandardCharsets.UTF_8;

import io.rora.config.JsonText;
import io.rora.config.ModelConfig;
import io.rora.config.StrictJson;
import io.rora.files.DurableFiles.Body;
import io.rora.files.FileSink;
import io.rora.files.FloatFormat;
import io.rora.kernels.DataType;
import io.rora.safetensors.SafetensorsType;
import io.rora.safetensors.SafetensorsWriter;
import io.rora.safetensors.SafetensorsWriter.Output;
import io.rora.safetensors.SafetensorsWriter.Tensor;
import io.rora.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * Writes a model as a Hugging Face directory that transformers loads: weights in shards,
 * config.json, the tokenizer and what generation needs. A few megabytes of memory are enough for
 * any model.
 */
public final class HuggingFaceWriter {
  /** What a shard holds at most, unless one tensor alone is larger. */
  public static final long SHARD_BYTES = 5_000_000_000L;

  private static final int CHUNK = 1 << 20;

  // What stands beside the weights in a Hugging Face directory and means the same for new ones; the
  // tokenizer's own files come from the tokenizer.
  private static final List<String> COMPANIONS =
      List.of("generation_config.json", "chat_template.jinja", "special_tokens_map.json");

  private final WeightSource base;
  private final DataType type;
  private final long shardBytes;
  private Map<String, byte[]> companions;

  /**
   * Makes a writer of models with the architecture and tokenizer of {@code base}.
   *
   * @param type what weights are written as; null for the base's own type, F32 where it is
   *     quantised
   */
  public HuggingFaceWriter(WeightSource base, DataType type) {
    this(base, type, SHARD_BYTES);
  }

  HuggingFaceWriter(WeightSource base, DataType type, long shardBytes) {
    this.base = base;
    this.type = type == null ? base.storageType() : type;
    this.shardBytes = shardBytes;
  }

  /** Gives the weights, row block by row block, each tensor's in order. */
  @FunctionalInterface
  public interface Rows {
    /**
     * Reads rows of a tensor.
     *
     * @param target receives {@code rows} rows, from its start on; elements of a vector are rows
     */
    void read(String name, long row, int rows, float[] target) throws IOException;
  }

  /**
   * Writes all files, config.json last.
   *
   * @throws ArithmeticException if a value is not finite in the written type, naming the tensor
   */
  public void write(FileSink sink, Rows rows) throws IOException {
    writeWeights(sink, rows);
    for (Map.Entry<String, byte[]> file : companions().entrySet()) {
      sink.write(file.getKey(), Body.of(file.getValue()));
    }
    sink.write("config.json", Body.of(configJson()));
  }

  private void writeWeights(FileSink sink, Rows rows) throws IOException {
    List<List<Tensor>> shards = shards();
    Map<String, String> places = new TreeMap<>();
    long total = 0;
    for (int i = 0; i < shards.size(); i++) {
      String name = shardName(i, shards.size());
      sink.write(
          name,
          SafetensorsWriter.body(
              Map.of("format", "pt"), shards.get(i), (tensor, out) -> copy(tensor, rows, out)));
      for (Tensor tensor : shards.get(i)) {
        places.put(tensor.name(), name);
        total += tensor.bytes();
      }
    }
    if (shards.size() > 1) {
      Map<String, Object> index = new TreeMap<>();
      index.put("metadata", Map.of("total_size", total));
      index.put("weight_map", places);
      sink.write("model.safetensors.index.json", Body.of(JsonText.pretty(index)));
    }
  }

  private List<List<Tensor>> shards() {
    List<List<Tensor>> shards = new ArrayList<>();
    long room = 0;
    for (Map.Entry<String, List<Long>> entry : base.config().tensorShapes().entrySet()) {
      Tensor tensor = new Tensor(entry.getKey(), SafetensorsType.of(type), entry.getValue());
      if (shards.isEmpty() || room < tensor.bytes()) {
        shards.add(new ArrayList<>());
        room = shardBytes;
      }
      shards.get(shards.size() - 1).add(tensor);
      room -= tensor.bytes();
    }
    return shards;
  }

  private static String shardName(int index, int count) {
    return count == 1
        ? "model.safetensors"
        : String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", index + 1, count);
  }

  private void copy(Tensor tensor, Rows rows, Output out) throws IOException {
    long count = tensor.shape().get(0);
    int width = tensor.shape().size() == 1 ? 1 : Math.toIntExact(tensor.shape().get(1));
    int block = (int) Math.min(count, Math.max(1, CHUNK / width));
    float[] values = new float[Math.multiplyExact(block, width)];
    for (long row = 0; row < count; row += block) {
      int now = (int) Math.min(block, count - row);
      rows.read(tensor.name(), row, now, values);
      requireFinite(tensor.name(), row, values, now * width, width);
      out.writeFloats(values, 0, now * width);
    }
  }

  private void requireFinite(String name, long row, float[] values, int count, int width) {
    for (int i = 0; i < count; i++) {
      float written =
          switch (type) {
            case F32 -> values[i];
            case BF16 -> FloatFormat.fromBfloat16(FloatFormat.toBfloat16(values[i]));
            case F16 -> FloatFormat.fromHalf(FloatFormat.toHalf(values[i]));
          };
      if (!Float.isFinite(written)) {
        throw new ArithmeticException(
            name
                + " row "
                + (row + i / width)
                + ": "
                + values[i]
                + " cannot be written as "
                + type
                + "; "
                + (Float.isFinite(values[i])
                    ? "write a type with a larger range (fp32)"
                    : "the adapter or the model is damaged"));
      }
    }
  }

  /** Returns the small files beside the weights. */
  private Map<String, byte[]> companions() throws IOException {
    if (companions == null) {
      companions = readCompanions();
    }
    return companions;
  }

  private Map<String, byte[]> readCompanions() throws IOException {
    Map<String, byte[]> files = new LinkedHashMap<>();
    Path directory = base.path();
    if (Files.isDirectory(directory)) {
      for (String name : COMPANIONS) {
        Path file = directory.resolve(name);
        if (Files.isRegularFile(file)) {
          files.put(name, Files.readAllBytes(file));
        }
      }
    } else {
      files.put("generation_config.json", JsonText.pretty(generation()).getBytes(UTF_8));
    }
    try (Tokenizer tokenizer = Tokenizer.open(directory)) {
      files.putAll(tokenizer.files());
    }
    return files;
  }

  private Map<String, Object> generation() {
    Map<String, Object> json = new TreeMap<>();
    ModelConfig config = base.config();
    config.bosTokenId().ifPresent(id -> json.put("bos_token_id", id));
    config.padTokenId().ifPresent(id -> json.put("pad_token_id", id));
    List<Integer> stops = base.stopTokenIds();
    if (!stops.isEmpty()) {
      json.put("eos_token_id", stops.size() == 1 ? stops.get(0) : stops);
    }
    return json;
  }

  /** The base's own config.json where it has one, so that nothing in it is lost. */
  private String configJson() throws IOException {
    Path file = base.path().resolve("config.json");
    if (!Files.isDirectory(base.path())) {
      return base.config().toHuggingFaceJson(type);
    }
    Map<String, Object> json = new LinkedHashMap<>();
    StrictJson.read(file).node().properties().forEach(e -> json.put(e.getKey(), e.getValue()));
    String field = json.containsKey("dtype") ? "dtype" : "torch_dtype";
    json.put(
        field,
        switch (type) {
          case F32 -> "float32";
          case BF16 -> "bfloat16";
          case F16 -> "float16";
        });
    return JsonText.pretty(json);
  }
}
