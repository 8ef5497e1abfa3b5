package io.rora.config;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.rora.config.ModelConfig.Architecture;
import io.rora.files.FileFormatException;
import io.rora.kernels.DataType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ModelConfigTest {
  private static final Path GOLDEN = Path.of("src/test/resources/golden/files");

  private static final String PLAIN =
      "'architectures': ['LlamaForCausalLM'], 'model_type': 'llama', 'vocab_size': 100,"
          + " 'hidden_size': 64, 'intermediate_size': 176, 'num_hidden_layers': 2,"
          + " 'num_attention_heads': 4";

  @TempDir Path directory;

  private ModelConfig read(String fields) throws IOException {
    Path file = directory.resolve("config.json");
    return ModelConfig.fromHuggingFace(
        Files.writeString(file, "{" + fields.replace('\'', '"') + "}"));
  }

  private void refused(String part, String fields) {
    String message = assertThrows(FileFormatException.class, () -> read(fields)).getMessage();
    assertTrue(message.contains("config.json: ") && message.contains(part), message);
  }

  @Test
  void absentFieldsHaveTransformersDefaults() throws IOException {
    ModelConfig config = read(PLAIN);
    assertEquals(Architecture.LLAMA, config.architecture());
    assertEquals(16, config.headDim());
    assertEquals(List.of(4, 4), config.keyValueHeads());
    assertEquals(RopeConfig.of(10000), config.rope());
    assertEquals(1e-6f, config.rmsNormEps());
    assertEquals(2048, config.maxPositionEmbeddings());
    assertFalse(config.tieWordEmbeddings() || config.attentionBias() || config.mlpBias());
    assertEquals(OptionalInt.of(1), config.bosTokenId());
    assertEquals(List.of(2), config.eosTokenIds());
    assertEquals(OptionalInt.empty(), config.padTokenId());
    assertTrue(config.uniform());
  }

  @Test
  void formsOfTransformers4And5AreTheSame() throws IOException {
    String rope =
        "'factor': 8.0, 'low_freq_factor': 1.0, 'high_freq_factor': 4.0,"
            + " 'original_max_position_embeddings': 64";
    ModelConfig four =
        read(
            PLAIN
                + ", 'rope_theta': 500000.0, 'rope_scaling': {'rope_type': 'llama3', "
                + rope
                + "}");
    ModelConfig five =
        read(
            PLAIN
                + ", 'rope_parameters': {'rope_theta': 500000, 'rope_type': 'llama3', "
                + rope
                + "}");
    assertEquals(four, five);
    assertEquals(new RopeScaling.Llama3(8, 1, 4, 64), four.rope().scaling());
    ModelConfig old = read(PLAIN + ", 'rope_scaling': {'type': 'linear', 'factor': 2.0}");
    assertEquals(new RopeConfig(10000, new RopeScaling.Linear(2)), old.rope());
    assertEquals(
        RopeConfig.of(1e6), read(PLAIN + ", 'rope_theta': 1e6, 'rope_scaling': null").rope());
    assertEquals(
        RopeConfig.of(1e6),
        read(PLAIN + ", 'rope_parameters': {'rope_theta': 1e6, 'rope_type': 'default'}").rope());
  }

  @Test
  void idsMayBeNumbersListsOrNull() throws IOException {
    ModelConfig config =
        read(PLAIN + ", 'eos_token_id': [7, 5, 7], 'bos_token_id': null, 'pad_token_id': 3");
    assertEquals(List.of(7, 5), config.eosTokenIds());
    assertEquals(OptionalInt.empty(), config.bosTokenId());
    assertEquals(OptionalInt.of(3), config.padTokenId());
    assertEquals(List.of(), read(PLAIN + ", 'eos_token_id': null").eosTokenIds());
    assertEquals(OptionalInt.empty(), read(PLAIN + ", 'pad_token_id': -1").padTokenId());
  }

  @Test
  void widthsMayDifferFromLayerToLayer() throws IOException {
    ModelConfig config =
        read(
            PLAIN
                + ", 'num_key_value_heads': 2, 'head_dim': 16, 'rora_intermediate_sizes': [100,"
                + " 176], 'rora_num_attention_heads': [2, 4], 'rora_num_key_value_heads': [1, 2]");
    assertFalse(config.uniform());
    assertEquals(100, config.intermediateSize(0));
    assertEquals(
        List.of(32L, 64L), config.tensorShapes().get("model.layers.0.self_attn.q_proj.weight"));
    assertEquals(
        List.of(16L, 64L), config.tensorShapes().get("model.layers.0.self_attn.k_proj.weight"));
    assertEquals(
        List.of(64L, 100L), config.tensorShapes().get("model.layers.0.mlp.down_proj.weight"));
    assertEquals(
        List.of(64L, 176L), config.tensorShapes().get("model.layers.1.mlp.down_proj.weight"));
    assertEquals(config, read(config.toHuggingFaceJson().strip().replaceAll("^\\{|\\}$", "")));
    refused("rora_intermediate_sizes has 1 numbers", PLAIN + ", 'rora_intermediate_sizes': [100]");
  }

  @Test
  void mistralWithoutASlidingWindowIsTheSameArithmetic() throws IOException {
    String mistral =
        PLAIN.replace("LlamaFor", "MistralFor").replace("'llama'", "'mistral'")
            + ", 'num_key_value_heads': 2";
    assertEquals(Architecture.MISTRAL, read(mistral + ", 'sliding_window': null").architecture());
    assertEquals(Architecture.MISTRAL, read(mistral).architecture());
    refused(
        "sliding_window is 4096; Mistral models are supported without",
        mistral + ", 'sliding_window': 4096");
    refused(
        "number of key/value heads of layer 0 is 8",
        mistral.replace(", 'num_key_value_heads': 2", ""));
    assertTrue(read(mistral).toHuggingFaceJson().contains("\"sliding_window\" : null"));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "hidden_act: 'gelu'",
        "quantization_config: {'bits': 4}",
        "pretraining_tp: 2",
        "partial_rotary_factor: 0.5",
        "attention_dropout: 0.1",
        "logit_scale: 0.5",
        "embedding_multiplier: 12.0",
        "num_local_experts: 8",
        "final_logit_softcapping: 30.0",
        "qk_norm: true",
        "layer_types: ['full_attention', 'sliding_attention']",
        "auto_map: {'AutoModelForCausalLM': 'modeling_x.XForCausalLM'}",
        "rope_scaling: {'rope_type': 'yarn', 'factor': 4.0}",
        "rope_scaling: {'rope_type': 'linear'}",
        "rope_scaling: {'rope_type': 'linear', 'factor': 0}",
        "rope_scaling: {'rope_type': 'linear', 'factor': 'x'}",
        "rope_parameters: {'full_attention': {'rope_theta': 1.0}}",
        "rope_parameters: {'partial_rotary_factor': 0.25}",
        "rope_theta: -1",
        "rms_norm_eps: 0",
        "head_dim: 15",
        "num_key_value_heads: 3",
        "num_hidden_layers: 0",
        "num_hidden_layers: 2000000000",
        "hidden_size: 65",
        "vocab_size: 1.5",
        "tie_word_embeddings: 'yes'",
        "eos_token_id: 'x'",
        "architectures: ['GPT2LMHeadModel']",
        "architectures: []",
        "model_type: 'qwen2'"
      })
  void whatIsNotThePlainArithmeticIsRefusedByName(String field) {
    String name = field.substring(0, field.indexOf(':'));
    String others =
        List.of(PLAIN.split(", (?=')")).stream()
            .filter(other -> !other.startsWith("'" + name + "'"))
            .filter(
                other -> !(field.equals("architectures: []") && other.startsWith("'model_type'")))
            .reduce((a, b) -> a + ", " + b)
            .orElseThrow();
    String shown =
        switch (name) {
          case "num_key_value_heads" -> "number of key/value heads";
          case "model_type" -> "model_type qwen2) is not supported";
          default ->
              field.contains("GPT2")
                  ? "GPT2LMHeadModel (model_type llama) is not supported"
                  : name.startsWith("rope_scaling") && field.contains("factor': 0")
                      ? "factor is 0"
                      : name;
        };
    refused(shown, others + ", '" + name + "'" + field.substring(field.indexOf(':')));
  }

  @Test
  void contradictingRopeFieldsAreRefused() {
    refused(
        "say different things",
        PLAIN
            + ", 'rope_scaling': {'rope_type': 'linear', 'factor': 2}, 'rope_parameters':"
            + " {'rope_type': 'linear', 'factor': 4}");
  }

  @Test
  void whatIsWrittenReadsBackTheSame() throws IOException {
    List<ModelConfig> configs = new ArrayList<>();
    configs.add(ModelConfig.fromHuggingFace(GOLDEN.resolve("tiny-hf/config.json")));
    configs.add(
        read(
            PLAIN
                + ", 'rope_scaling': {'type': 'linear', 'factor': 2.5}, 'tie_word_embeddings':"
                + " true, 'eos_token_id': null"));
    configs.add(
        read(PLAIN + ", 'rms_norm_eps': 1e-5, 'rope_theta': 123456.5, 'bos_token_id': null"));
    for (ModelConfig config : configs) {
      Path file =
          Files.writeString(directory.resolve("c.json"), config.toHuggingFaceJson(DataType.BF16));
      assertEquals(config, ModelConfig.fromHuggingFace(file));
      assertEquals("bfloat16", StrictJson.read(file).string("torch_dtype"));
    }
  }

  @Test
  void theGoldenConfigIsUnderstood() throws IOException {
    ModelConfig config = ModelConfig.fromHuggingFace(GOLDEN.resolve("tiny-hf/config.json"));
    assertEquals(16, config.headDim());
    assertTrue(config.attentionBias() && config.mlpBias() && !config.tieWordEmbeddings());
    assertEquals(List.of(2, 5), config.eosTokenIds());
    assertEquals(1e-5f, config.rmsNormEps());
    assertEquals(512, config.maxPositionEmbeddings());
    assertEquals(new RopeConfig(500000, new RopeScaling.Llama3(8, 1, 4, 64)), config.rope());
    assertEquals(GenerationConfig.read(GOLDEN.resolve("tiny-hf")).eosTokenIds(), List.of(2, 5));
  }

  /** torch's float pow is within one unit in the last place of the exact value, and so is ours. */
  @Test
  void inverseFrequenciesAreThoseOfTransformers() throws IOException {
    for (JsonNode golden : new ObjectMapper().readTree(GOLDEN.resolve("rope.json").toFile())) {
      int headDim = golden.get("head_dim").intValue();
      float[] expected = new float[headDim / 2];
      for (int i = 0; i < expected.length; i++) {
        expected[i] = (float) golden.get("inverse_frequencies").get(i).doubleValue();
      }
      float[] found =
          new RopeConfig(golden.get("theta").doubleValue(), scaling(golden.get("scaling")))
              .inverseFrequencies(headDim);
      for (int i = 0; i < expected.length; i++) {
        assertEquals(expected[i], found[i], 4 * Math.ulp(expected[i]), golden + " frequency " + i);
      }
    }
  }

  private static RopeScaling scaling(JsonNode json) {
    return switch (json.path("rope_type").asText("default")) {
      case "linear" -> new RopeScaling.Linear(json.get("factor").doubleValue());
      case "llama3" ->
          new RopeScaling.Llama3(
              json.get("factor").doubleValue(),
              json.get("low_freq_factor").doubleValue(),
              json.get("high_freq_factor").doubleValue(),
              json.get("original_max_position_embeddings").doubleValue());
      default -> new RopeScaling.None();
    };
  }

  /**
   * A GGUF file keeps only the divisors of a llama3 scaling; config.json wants its parameters back.
   */
  @Test
  void divisorsAreWrittenAsTheLlama3ScalingThatTheyComeFrom() throws IOException {
    for (RopeScaling.Llama3 rule :
        List.of(
            new RopeScaling.Llama3(8, 1, 4, 8192),
            new RopeScaling.Llama3(32, 1, 4, 8192),
            new RopeScaling.Llama3(8, 1, 4, 64),
            new RopeScaling.Llama3(4, 1, 3, 700))) {
      for (int headDim : List.of(32, 64, 128)) {
        float[] plain = RopeConfig.of(500000).inverseFrequencies(headDim);
        float[] scaled = new RopeConfig(500000, rule).inverseFrequencies(headDim);
        List<Float> divisors = new ArrayList<>();
        for (int i = 0; i < plain.length; i++) {
          divisors.add((float) ((double) plain[i] / scaled[i]));
        }
        RopeScaling found = Llama3Fit.fit(500000, headDim, new RopeScaling.Divisors(divisors));
        float[] again = new RopeConfig(500000, found).inverseFrequencies(headDim);
        for (int i = 0; i < again.length; i++) {
          assertEquals(
              scaled[i], again[i], 4e-6f * scaled[i], rule + " as " + found + ", frequency " + i);
        }
        if (rule.highFrequencyFactor() == 4) {
          assertEquals(rule.factor(), ((RopeScaling.Llama3) found).factor(), 1e-5 * rule.factor());
          assertEquals(
              rule.originalContext(),
              ((RopeScaling.Llama3) found).originalContext(),
              rule + " as " + found);
        }
      }
    }
    IllegalArgumentException e =
        assertThrows(
            IllegalArgumentException.class,
            () -> Llama3Fit.fit(10000, 8, new RopeScaling.Divisors(List.of(3f, 1f, 2f, 1f))));
    assertTrue(e.getMessage().contains("rope_freqs.weight"), e.getMessage());
    assertEquals(
        new RopeScaling.None(), Llama3Fit.fit(10000, 4, new RopeScaling.Divisors(List.of(1f, 1f))));
  }

  @Test
  void divisorsDivideTheFrequencies() {
    RopeConfig rope = new RopeConfig(10000, new RopeScaling.Divisors(List.of(1f, 2f)));
    assertArrayEquals(new float[] {1f, 0.005f}, rope.inverseFrequencies(4));
    assertThrows(
        IllegalArgumentException.class, () -> new RopeScaling.Divisors(List.of(Float.NaN)));
    assertThrows(IllegalArgumentException.class, () -> new RopeScaling.Divisors(List.of(0f)));
  }
}
