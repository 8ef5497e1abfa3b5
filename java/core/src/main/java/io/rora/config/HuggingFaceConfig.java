package io.rora.config;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.SerializationFeature;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import io.rora.config.ModelConfig.Architecture;
import io.rora.files.FileFormatException;
import io.rora.kernels.DataType;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;
import java.util.OptionalInt;
import java.util.stream.Collectors;

/**
 * Hugging Face's config.json: the one place that knows its names. Absent fields have the defaults
 * of transformers' LlamaConfig and MistralConfig.
 */
final class HuggingFaceConfig {
  private static final int MAX_SIZE = Integer.MAX_VALUE;

  /**
   * Fields that change the arithmetic in models that call themselves LLaMA: only these values are
   * the plain one.
   */
  private static final List<Neutral> NEUTRAL =
      List.of(
          new Neutral("pretraining_tp", 1),
          new Neutral("partial_rotary_factor", 1),
          new Neutral("attention_dropout", 0),
          new Neutral("resid_pdrop", 0),
          new Neutral("embd_pdrop", 0),
          new Neutral("hidden_dropout", 0),
          new Neutral("logit_scale", 1),
          new Neutral("logits_scaling", 1),
          new Neutral("embedding_multiplier", 1),
          new Neutral("residual_multiplier", 1),
          new Neutral("scale_emb", 1),
          new Neutral("num_local_experts", 0),
          new Neutral("num_experts", 0));

  /**
   * Fields that change the arithmetic whenever they are set to anything but null, false or an empty
   * value.
   */
  private static final List<String> ABSENT =
      List.of(
          "quantization_config",
          "compression_config",
          "attn_logit_softcapping",
          "final_logit_softcapping",
          "query_pre_attn_scalar",
          "attention_multiplier",
          "scale_depth",
          "qk_norm",
          "use_qk_norm",
          "no_rope_layers",
          "alibi",
          "use_parallel_residual",
          "add_cross_attention",
          "rope_interleaved",
          "pruned_heads");

  private final StrictJson json;
  private final Architecture architecture;

  private HuggingFaceConfig(StrictJson json) throws FileFormatException {
    this.json = json;
    this.architecture = architecture(json);
  }

  private record Neutral(String field, double value) {}

  static ModelConfig read(StrictJson json) throws FileFormatException {
    return new HuggingFaceConfig(json).read();
  }

  private ModelConfig read() throws FileFormatException {
    refuseOtherArithmetic();
    int layers = json.integer("num_hidden_layers", 1, ModelConfig.MAX_LAYERS);
    int hidden = json.integer("hidden_size", 1, MAX_SIZE);
    int heads = json.integer("num_attention_heads", 1, MAX_SIZE);
    boolean llama = architecture == Architecture.LLAMA;
    int kvHeads =
        json.integer(
            "num_key_value_heads",
            1,
            MAX_SIZE,
            llama || json.contains("num_key_value_heads") ? heads : 8);
    int context = json.integer("max_position_embeddings", 1, MAX_SIZE, llama ? 2048 : 4096 * 32);
    try {
      return new ModelConfig(
          architecture,
          json.integer("vocab_size", 1, MAX_SIZE),
          hidden,
          headDim(hidden, heads),
          perLayer(
              "rora_intermediate_sizes", layers, json.integer("intermediate_size", 1, MAX_SIZE)),
          perLayer("rora_num_attention_heads", layers, heads),
          perLayer("rora_num_key_value_heads", layers, kvHeads),
          json.bool("attention_bias", false),
          json.bool("mlp_bias", false),
          json.bool("tie_word_embeddings", false),
          rope(context),
          (float) json.number("rms_norm_eps", 1e-6),
          context,
          optionalId("bos_token_id", 1),
          eosIds(json, List.of(2)),
          optionalId("pad_token_id", -1));
    } catch (IllegalArgumentException e) {
      throw new FileFormatException(json.where(), e.getMessage());
    }
  }

  private static Architecture architecture(StrictJson json) throws FileFormatException {
    String supported =
        Arrays.stream(Architecture.values())
            .map(Architecture::className)
            .collect(Collectors.joining(" and "));
    List<String> names = json.has("architectures") ? json.strings("architectures") : List.of();
    String type = json.string("model_type", null);
    if (names.size() > 1 || (names.isEmpty() && type == null)) {
      throw json.error("architectures", "names " + names + ", expected one of " + supported);
    }
    for (Architecture known : Architecture.values()) {
      boolean named = names.isEmpty() || names.get(0).equals(known.className());
      if (named && (type == null || type.equals(known.modelType()))) {
        return known;
      }
    }
    String found =
        names.isEmpty()
            ? "model_type " + type
            : names.get(0) + (type == null ? "" : " (model_type " + type + ")");
    throw new FileFormatException(
        json.where(),
        "the architecture " + found + " is not supported; supported are " + supported);
  }

  /** Whatever would make another function of the same weights is refused by its name. */
  private void refuseOtherArithmetic() throws FileFormatException {
    String activation = json.string("hidden_act", "silu");
    if (!activation.equals("silu")) {
      throw json.error("hidden_act", "is " + activation + "; only silu is supported");
    }
    for (Neutral neutral : NEUTRAL) {
      double value = json.number(neutral.field(), neutral.value());
      if (value != neutral.value()) {
        throw json.error(
            neutral.field(), "is " + value + "; only " + neutral.value() + " is supported");
      }
    }
    for (String field : ABSENT) {
      if (isSet(json.node(field))) {
        String advice =
            field.equals("quantization_config")
                ? "; weights in F32, F16 and BF16 are supported, or a quantised GGUF file: take the"
                    + " unquantised model"
                : "; a plain LLaMA model without it is supported";
        throw json.error(field, "is set, which is not supported" + advice);
      }
    }
    if (json.has("auto_map") && json.object("auto_map").has("AutoModelForCausalLM")) {
      throw json.error(
          "auto_map",
          "names the model's own code, which is not supported; the plain architecture is");
    }
    refuseOtherAttention();
  }

  private void refuseOtherAttention() throws FileFormatException {
    if (architecture == Architecture.MISTRAL && json.has("sliding_window")) {
      throw json.error(
          "sliding_window",
          "is "
              + json.node("sliding_window")
              + "; Mistral models are supported without a sliding window (null)");
    }
    if (json.has("layer_types")) {
      for (String type : json.strings("layer_types")) {
        if (!type.equals("full_attention")) {
          throw json.error("layer_types", "names " + type + "; only full_attention is supported");
        }
      }
    }
  }

  private static boolean isSet(JsonNode value) {
    return value != null
        && !value.isNull()
        && !(value.isBoolean() && !value.booleanValue())
        && !(value.isContainerNode() && value.isEmpty());
  }

  private int headDim(int hidden, int heads) throws FileFormatException {
    if (!json.has("head_dim") && hidden % heads != 0) {
      throw json.error(
          "hidden_size",
          "is "
              + hidden
              + ", not a multiple of num_attention_heads, "
              + heads
              + ", and there is no head_dim");
    }
    return json.integer("head_dim", 2, MAX_SIZE, hidden / heads);
  }

  private List<Integer> perLayer(String field, int layers, int same) throws FileFormatException {
    if (!json.has(field)) {
      return Collections.nCopies(layers, same);
    }
    List<Integer> sizes = json.integers(field, 1, MAX_SIZE);
    if (sizes.size() != layers) {
      throw json.error(
          field,
          "has " + sizes.size() + " numbers, expected one for each of the " + layers + " layers");
    }
    return sizes;
  }

  private OptionalInt optionalId(String field, int otherwise) throws FileFormatException {
    int id =
        json.contains(field) && !json.has(field)
            ? -1
            : json.integer(field, -1, MAX_SIZE, otherwise);
    return id < 0 ? OptionalInt.empty() : OptionalInt.of(id);
  }

  /** Returns the ids of eos_token_id, a number or a list; none where it is null. */
  static List<Integer> eosIds(StrictJson json, List<Integer> otherwise) throws FileFormatException {
    if (!json.contains("eos_token_id")) {
      return otherwise;
    }
    if (!json.has("eos_token_id")) {
      return List.of();
    }
    List<Integer> ids =
        json.isList("eos_token_id")
            ? json.integers("eos_token_id", -1, MAX_SIZE)
            : List.of(json.integer("eos_token_id", -1, MAX_SIZE));
    return ids.stream().filter(id -> id >= 0).distinct().toList();
  }

  // ---- rope ----

  private RopeConfig rope(int context) throws FileFormatException {
    StrictJson scaling = json.optionalObject("rope_scaling").orElse(null);
    StrictJson parameters = json.optionalObject("rope_parameters").orElse(null);
    RopeConfig old = rope(scaling, "rope_scaling", context);
    if (parameters == null) {
      return old;
    }
    RopeConfig current = rope(parameters, "rope_parameters", context);
    if (scaling != null && !current.equals(old)) {
      throw json.error(
          "rope_parameters", "and rope_scaling say different things; remove the one that is wrong");
    }
    return current;
  }

  private RopeConfig rope(StrictJson rope, String field, int context) throws FileFormatException {
    double theta = json.number("rope_theta", 10000);
    if (rope == null) {
      return RopeConfig.of(theta);
    }
    for (String nested : rope.fields()) {
      if (rope.node(nested).isObject()) {
        throw rope.error(nested, "is an object; one set of parameters for all layers is supported");
      }
    }
    if (rope.number("partial_rotary_factor", 1) != 1) {
      throw rope.error(
          "partial_rotary_factor",
          "is " + rope.number("partial_rotary_factor") + "; only 1 is supported");
    }
    String type = rope.string("rope_type", rope.string("type", "default"));
    return new RopeConfig(rope.number("rope_theta", theta), scaling(rope, type, field, context));
  }

  private RopeScaling scaling(StrictJson rope, String type, String field, int context)
      throws FileFormatException {
    return switch (type) {
      case "default" -> new RopeScaling.None();
      case "linear" -> new RopeScaling.Linear(rope.number("factor"));
      case "llama3" ->
          new RopeScaling.Llama3(
              rope.number("factor"),
              rope.number("low_freq_factor"),
              rope.number("high_freq_factor"),
              originalContext(rope, context));
      default ->
          throw json.error(
              field, "is of type " + type + "; supported are default, linear and llama3");
    };
  }

  private double originalContext(StrictJson rope, int context) throws FileFormatException {
    String field = "original_max_position_embeddings";
    double outer = json.number(field, context);
    double inner = rope.number(field, outer);
    if (json.has(field) && inner != outer) {
      throw json.error(
          field,
          "is "
              + outer
              + " here and "
              + inner
              + " in the rope parameters; remove the one that is wrong");
    }
    return inner;
  }

  // ---- writing ----

  static String write(ModelConfig config, DataType type) {
    ObjectNode json = JsonNodeFactory.instance.objectNode();
    json.putArray("architectures").add(config.architecture().className());
    json.put("model_type", config.architecture().modelType());
    json.put("vocab_size", config.vocabSize());
    json.put("hidden_size", config.hiddenSize());
    json.put("intermediate_size", Collections.max(config.intermediateSizes()));
    json.put("num_hidden_layers", config.layers());
    json.put("num_attention_heads", Collections.max(config.attentionHeads()));
    json.put("num_key_value_heads", Collections.max(config.keyValueHeads()));
    json.put("head_dim", config.headDim());
    if (!config.uniform()) {
      putAll(json.putArray("rora_intermediate_sizes"), config.intermediateSizes());
      putAll(json.putArray("rora_num_attention_heads"), config.attentionHeads());
      putAll(json.putArray("rora_num_key_value_heads"), config.keyValueHeads());
    }
    json.put("hidden_act", "silu");
    json.put("rms_norm_eps", config.rmsNormEps());
    json.put("max_position_embeddings", config.maxPositionEmbeddings());
    writeRope(json, config);
    json.put("tie_word_embeddings", config.tieWordEmbeddings());
    if (config.architecture() == Architecture.MISTRAL) {
      json.putNull("sliding_window");
    } else {
      json.put("attention_bias", config.attentionBias());
      json.put("mlp_bias", config.mlpBias());
      json.put("pretraining_tp", 1);
    }
    json.put("attention_dropout", 0.0);
    json.put("initializer_range", 0.02);
    json.put("use_cache", true);
    writeIds(json, config);
    if (type != null) {
      json.put(
          "torch_dtype",
          switch (type) {
            case F32 -> "float32";
            case BF16 -> "bfloat16";
            case F16 -> "float16";
          });
    }
    return print(json);
  }

  private static void writeIds(ObjectNode json, ModelConfig config) {
    putId(json, "bos_token_id", config.bosTokenId());
    putId(json, "pad_token_id", config.padTokenId());
    if (config.eosTokenIds().size() > 1) {
      putAll(json.putArray("eos_token_id"), config.eosTokenIds());
    } else {
      putId(
          json,
          "eos_token_id",
          config.eosTokenIds().stream().mapToInt(Integer::intValue).findFirst());
    }
  }

  /** In the form of transformers 4, which 5 reads too: the other way round it does not hold. */
  private static void writeRope(ObjectNode json, ModelConfig config) {
    json.put("rope_theta", config.rope().theta());
    RopeScaling scaling = config.rope().scaling();
    if (scaling instanceof RopeScaling.Divisors divisors) {
      scaling = Llama3Fit.fit(config.rope().theta(), config.headDim(), divisors);
    }
    if (scaling instanceof RopeScaling.Linear linear) {
      json.putObject("rope_scaling").put("rope_type", "linear").put("factor", linear.factor());
    } else if (scaling instanceof RopeScaling.Llama3 llama3) {
      ObjectNode rope = json.putObject("rope_scaling").put("rope_type", "llama3");
      rope.put("factor", llama3.factor());
      rope.put("low_freq_factor", llama3.lowFrequencyFactor());
      rope.put("high_freq_factor", llama3.highFrequencyFactor());
      // transformers wants a whole number here; a fitted one may need its fraction.
      if (llama3.originalContext() == Math.rint(llama3.originalContext())) {
        rope.put("original_max_position_embeddings", (long) llama3.originalContext());
      } else {
        rope.put("original_max_position_embeddings", llama3.originalContext());
      }
    } else {
      json.putNull("rope_scaling");
    }
  }

  private static void putId(ObjectNode json, String field, OptionalInt id) {
    if (id.isPresent()) {
      json.put(field, id.getAsInt());
    } else {
      json.putNull(field);
    }
  }

  private static void putAll(ArrayNode array, List<Integer> values) {
    values.forEach(array::add);
  }

  private static String print(ObjectNode json) {
    try {
      return new ObjectMapper().enable(SerializationFeature.INDENT_OUTPUT).writeValueAsString(json)
          + "\n";
    } catch (JsonProcessingException e) {
      throw new IllegalStateException("config.json cannot be written: " + e.getMessage(), e);
    }
  }
}
