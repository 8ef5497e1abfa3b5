package io.rora.cli.quickstart;

import io.rora.config.JsonText;
import io.rora.files.DurableFiles;
import io.rora.kernels.DataType;
import io.rora.safetensors.SafetensorsFile;
import io.rora.safetensors.SafetensorsType;
import io.rora.safetensors.SafetensorsWriter;
import io.rora.train.Method;
import io.rora.train.Schedule;
import io.rora.train.TrainListener;
import io.rora.train.TrainOptions;
import io.rora.train.Trainer;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/**
 * The quickstart's base: a LLaMA model of about a million parameters that knows the {@link
 * ToyWorld} by heart and nothing else. It was pretrained by rora itself; {@link #pretrain} does it
 * again.
 */
final class BaseModel {
  private static final String WEIGHTS = "model.safetensors";
  private static final List<String> FILES =
      List.of("config.json", "tokenizer.json", "tokenizer_config.json", WEIGHTS);
  private static final int VOCABULARY = 1024;
  private static final int HIDDEN = 128;
  private static final int INTERMEDIATE = 384;
  private static final int LAYERS = 4;
  private static final int HEADS = 4;
  private static final int KEY_VALUE_HEADS = 2;
  private static final int CONTEXT = 256;
  private static final double INITIAL_DEVIATION = 0.02;
  private static final int STEPS = 1400;
  private static final int BATCH_ROWS = 32;
  private static final int TOKENIZER_ROWS = 2000;
  // Question words must be words of the tokenizer's too: it is made from these texts as well.
  private static final int QUESTION_WEIGHT = 3;

  private BaseModel() {}

  /**
   * Writes the built-in model's files.
   *
   * @param directory made if it is missing
   */
  static void extract(Path directory) throws IOException {
    Files.createDirectories(directory);
    for (String name : FILES) {
      try (InputStream in = BaseModel.class.getResourceAsStream("base/" + name)) {
        if (in == null) {
          throw new IOException("rora.jar lacks the built-in model's " + name + ": build it again");
        }
        Files.copy(in, directory.resolve(name), StandardCopyOption.REPLACE_EXISTING);
      }
    }
  }

  /**
   * Makes the base anew: random weights, pretrained on the world's text.
   *
   * @param world what it is to know
   * @param work where everything goes; the model is in {@code base/} then
   * @param threads 0 for all cores
   * @param listener hears of the training
   * @return the model's directory
   */
  static Path pretrain(ToyWorld world, Path work, int threads, TrainListener listener)
      throws IOException {
    Path start = work.resolve("start");
    writeStart(world, start);
    Path text = work.resolve("text.jsonl");
    writeText(world.text(STEPS * BATCH_ROWS), text);
    Path run = work.resolve("run");
    Trainer.run(
        TrainOptions.builder()
            .model(start)
            .data(text)
            .out(run)
            .method(Method.FULL)
            .learningRate(3e-3)
            .schedule(Schedule.COSINE)
            .warmupSteps(50)
            .batchSize(BATCH_ROWS)
            .maxSteps(STEPS)
            .shuffle(false)
            .dtype(DataType.F32) // bfloat16 needs twice the steps to learn the facts
            .threads(threads)
            .saveSteps(STEPS)
            .build(),
        listener);
    Path base = work.resolve("base");
    Files.createDirectories(base);
    for (String name : List.of("config.json", "tokenizer.json", "tokenizer_config.json")) {
      Files.copy(start.resolve(name), base.resolve(name));
    }
    writeRounded(run.resolve(WEIGHTS), base.resolve(WEIGHTS));
    return base;
  }

  /** Writes a file's tensors in bfloat16, which halves it. */
  private static void writeRounded(Path from, Path to) throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(from)) {
      List<SafetensorsWriter.Tensor> tensors =
          file.tensors().values().stream()
              .map(t -> new SafetensorsWriter.Tensor(t.name(), SafetensorsType.BF16, t.shape()))
              .toList();
      SafetensorsWriter.Source source =
          (tensor, out) -> {
            float[] values = file.readFloats(tensor.name());
            out.writeFloats(values, 0, values.length);
          };
      new DurableFiles().write(to, SafetensorsWriter.body(Map.of("format", "pt"), tensors, source));
    }
  }

  private static void writeText(List<String> rows, Path file) throws IOException {
    StringBuilder lines = new StringBuilder();
    for (String row : rows) {
      lines.append(JsonText.line(Map.of("text", row))).append('\n');
    }
    Files.writeString(file, lines);
  }

  /** Writes the untrained model: configuration, tokenizer and random weights. */
  private static void writeStart(ToyWorld world, Path directory) throws IOException {
    Files.createDirectories(directory);
    Files.writeString(directory.resolve("config.json"), JsonText.pretty(config()));
    Files.writeString(directory.resolve("tokenizer.json"), JsonText.line(tokenizer(world)));
    Files.writeString(
        directory.resolve("tokenizer_config.json"), JsonText.pretty(tokenizerConfig()));
    writeRandomWeights(directory.resolve(WEIGHTS));
  }

  /** The tokenizer that the world's text gives. */
  static Map<String, Object> tokenizer(ToyWorld world) {
    List<String> text = new ArrayList<>(world.text(TOKENIZER_ROWS));
    for (Question question : world.trainingQuestions()) {
      for (int i = 0; i < QUESTION_WEIGHT; i++) {
        text.add("Question: " + question.text() + "\nAnswer:");
      }
    }
    return BytePairTrainer.train(text, VOCABULARY);
  }

  private static Map<String, Object> config() {
    Map<String, Object> config = new LinkedHashMap<>();
    config.put("architectures", List.of("LlamaForCausalLM"));
    config.put("model_type", "llama");
    config.put("hidden_size", HIDDEN);
    config.put("intermediate_size", INTERMEDIATE);
    config.put("num_hidden_layers", LAYERS);
    config.put("num_attention_heads", HEADS);
    config.put("num_key_value_heads", KEY_VALUE_HEADS);
    config.put("vocab_size", VOCABULARY);
    config.put("max_position_embeddings", CONTEXT);
    config.put("hidden_act", "silu");
    config.put("rms_norm_eps", 1e-5);
    config.put("rope_theta", 10000.0);
    config.put("attention_bias", false);
    config.put("mlp_bias", false);
    config.put("tie_word_embeddings", false);
    config.put("bos_token_id", null);
    config.put("eos_token_id", 0);
    config.put("torch_dtype", "bfloat16");
    return config;
  }

  private static Map<String, Object> tokenizerConfig() {
    Map<String, Object> config = new LinkedHashMap<>();
    config.put("tokenizer_class", "PreTrainedTokenizerFast");
    config.put("eos_token", BytePairTrainer.END_OF_TEXT);
    config.put("model_max_length", CONTEXT);
    config.put("clean_up_tokenization_spaces", false);
    return config;
  }

  private static Map<String, List<Long>> shapes() {
    long hidden = HIDDEN;
    long keys = hidden / HEADS * KEY_VALUE_HEADS;
    long inner = INTERMEDIATE;
    Map<String, List<Long>> shapes = new LinkedHashMap<>();
    shapes.put("model.embed_tokens.weight", List.of((long) VOCABULARY, hidden));
    for (int layer = 0; layer < LAYERS; layer++) {
      String prefix = "model.layers." + layer + ".";
      shapes.put(prefix + "input_layernorm.weight", List.of(hidden));
      shapes.put(prefix + "self_attn.q_proj.weight", List.of(hidden, hidden));
      shapes.put(prefix + "self_attn.k_proj.weight", List.of(keys, hidden));
      shapes.put(prefix + "self_attn.v_proj.weight", List.of(keys, hidden));
      shapes.put(prefix + "self_attn.o_proj.weight", List.of(hidden, hidden));
      shapes.put(prefix + "post_attention_layernorm.weight", List.of(hidden));
      shapes.put(prefix + "mlp.gate_proj.weight", List.of(inner, hidden));
      shapes.put(prefix + "mlp.up_proj.weight", List.of(inner, hidden));
      shapes.put(prefix + "mlp.down_proj.weight", List.of(hidden, inner));
    }
    shapes.put("model.norm.weight", List.of(hidden));
    shapes.put("lm_head.weight", List.of((long) VOCABULARY, hidden));
    return shapes;
  }

  private static void writeRandomWeights(Path file) throws IOException {
    List<SafetensorsWriter.Tensor> tensors = new ArrayList<>();
    shapes()
        .forEach(
            (name, shape) ->
                tensors.add(new SafetensorsWriter.Tensor(name, SafetensorsType.F32, shape)));
    SafetensorsWriter.Source source =
        (tensor, out) -> {
          float[] values = randomValues(tensor);
          out.writeFloats(values, 0, values.length);
        };
    new DurableFiles().write(file, SafetensorsWriter.body(Map.of("format", "pt"), tensors, source));
  }

  /** Ones for norms, else normal; each tensor has numbers of its own, whatever the order. */
  private static float[] randomValues(SafetensorsWriter.Tensor tensor) {
    long count = tensor.shape().stream().reduce(1L, Math::multiplyExact);
    float[] values = new float[Math.toIntExact(count)];
    Random random = new Random(tensor.name().hashCode());
    for (int i = 0; i < values.length; i++) {
      boolean norm = tensor.shape().size() == 1;
      values[i] = norm ? 1 : (float) (INITIAL_DEVIATION * random.nextGaussian());
    }
    return values;
  }
}
