package io.rora.config;

import io.rora.kernels.DataType;
import java.io.IOException;
import java.nio.file.Path;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

/**
 * The architecture of a LLaMA-family model: everything that its arithmetic depends on, and the ids
 * of its special tokens. Widths stand per layer, since a pruned model's may differ; for others all
 * are the same.
 *
 * @param architecture its name in Hugging Face's config.json
 * @param vocabSize rows of the embedding
 * @param hiddenSize width of the residual stream
 * @param headDim width of one attention head, even; need not be hidden size / heads
 * @param intermediateSizes inner width of the MLP, per layer
 * @param attentionHeads number of query heads, per layer
 * @param keyValueHeads number of key and value heads, per layer; divides that layer's attention
 *     heads
 * @param attentionBias whether q_proj, k_proj, v_proj and o_proj have a bias
 * @param mlpBias whether gate_proj, up_proj and down_proj have a bias
 * @param tieWordEmbeddings whether the output head is the embedding
 * @param rope the rotary position embedding
 * @param rmsNormEps epsilon of the norms
 * @param maxPositionEmbeddings length of the context
 * @param bosTokenId id that begins a sequence, where there is one
 * @param eosTokenIds ids that end a sequence, the tokenizer's own first; may be empty
 * @param padTokenId id for padding, where there is one
 */
public record ModelConfig(
    Architecture architecture,
    int vocabSize,
    int hiddenSize,
    int headDim,
    List<Integer> intermediateSizes,
    List<Integer> attentionHeads,
    List<Integer> keyValueHeads,
    boolean attentionBias,
    boolean mlpBias,
    boolean tieWordEmbeddings,
    RopeConfig rope,
    float rmsNormEps,
    int maxPositionEmbeddings,
    OptionalInt bosTokenId,
    List<Integer> eosTokenIds,
    OptionalInt padTokenId) {
  /** More layers than any model has; a bound for hostile files. */
  public static final int MAX_LAYERS = 4096;

  /** The architectures whose arithmetic is implemented. */
  public enum Architecture {
    /** LLaMA 1 to 3 and all that copy it. */
    LLAMA("LlamaForCausalLM", "llama"),
    /** Mistral without a sliding window: the same arithmetic. */
    MISTRAL("MistralForCausalLM", "mistral");

    private final String className;
    private final String modelType;

    Architecture(String className, String modelType) {
      this.className = className;
      this.modelType = modelType;
    }

    /** Returns the name in {@code architectures} of config.json. */
    public String className() {
      return className;
    }

    /** Returns the {@code model_type} of config.json. */
    public String modelType() {
      return modelType;
    }
  }

  /** Copies the lists and checks that all sizes fit together. */
  public ModelConfig {
    intermediateSizes = List.copyOf(intermediateSizes);
    attentionHeads = List.copyOf(attentionHeads);
    keyValueHeads = List.copyOf(keyValueHeads);
    eosTokenIds = List.copyOf(eosTokenIds);
    require(vocabSize > 0, "vocab_size", vocabSize, "positive");
    require(hiddenSize > 0, "hidden_size", hiddenSize, "positive");
    require(
        headDim > 0 && headDim <= 65536 && headDim % 2 == 0,
        "head_dim",
        headDim,
        "even, from 2 to 65536");
    require(
        maxPositionEmbeddings > 0, "max_position_embeddings", maxPositionEmbeddings, "positive");
    require(rmsNormEps > 0 && rmsNormEps < 1, "rms_norm_eps", rmsNormEps, "between 0 and 1");
    int layers = intermediateSizes.size();
    require(
        layers > 0 && layers <= MAX_LAYERS, "num_hidden_layers", layers, "from 1 to " + MAX_LAYERS);
    require(
        attentionHeads.size() == layers,
        "number of attention head counts",
        attentionHeads.size(),
        "" + layers);
    require(
        keyValueHeads.size() == layers,
        "number of key/value head counts",
        keyValueHeads.size(),
        "" + layers);
    for (int layer = 0; layer < layers; layer++) {
      checkLayer(
          layer,
          intermediateSizes.get(layer),
          attentionHeads.get(layer),
          keyValueHeads.get(layer),
          headDim);
    }
    if (rope.scaling() instanceof RopeScaling.Divisors divisors) {
      int count = divisors.values().size();
      require(
          count == headDim / 2, "number of rope divisors", count, "head_dim / 2, " + headDim / 2);
    }
  }

  private static void checkLayer(int layer, int inner, int heads, int kvHeads, int headDim) {
    String of = " of layer " + layer;
    require(inner > 0, "intermediate size" + of, inner, "positive");
    require(heads > 0, "number of attention heads" + of, heads, "positive");
    require(
        kvHeads > 0 && heads % kvHeads == 0,
        "number of key/value heads" + of,
        kvHeads,
        "a divisor of the " + heads + " attention heads");
    require(
        (long) heads * headDim <= Integer.MAX_VALUE,
        "number of attention heads" + of,
        heads,
        "small enough for rows below 2^31");
  }

  private static void require(boolean holds, String name, Object value, String rule) {
    if (!holds) {
      throw new IllegalArgumentException(name + " is " + value + ", it must be " + rule);
    }
  }

  /**
   * Reads a config.json as transformers 4 or 5 writes it.
   *
   * @throws io.rora.files.FileFormatException naming file and field, for what is wrong or is not
   *     implemented
   */
  public static ModelConfig fromHuggingFace(Path configJson) throws IOException {
    return HuggingFaceConfig.read(StrictJson.read(configJson));
  }

  /** Returns a config.json that transformers 4 and 5 load. */
  public String toHuggingFaceJson() {
    return HuggingFaceConfig.write(this, null);
  }

  /** Returns a config.json that transformers 4 and 5 load, for weights stored as {@code type}. */
  public String toHuggingFaceJson(DataType type) {
    return HuggingFaceConfig.write(this, type);
  }

  /** Returns the number of layers. */
  public int layers() {
    return intermediateSizes.size();
  }

  /** Returns the inner width of a layer's MLP. */
  public int intermediateSize(int layer) {
    return intermediateSizes.get(layer);
  }

  /** Returns the number of query heads of a layer. */
  public int heads(int layer) {
    return attentionHeads.get(layer);
  }

  /** Returns the number of key and value heads of a layer. */
  public int kvHeads(int layer) {
    return keyValueHeads.get(layer);
  }

  /** Returns whether all layers have the same widths. */
  public boolean uniform() {
    return allEqual(intermediateSizes) && allEqual(attentionHeads) && allEqual(keyValueHeads);
  }

  private static boolean allEqual(List<Integer> values) {
    return values.stream().distinct().count() == 1;
  }

  /**
   * Returns the Hugging Face name and the shape of every tensor that such a model has, in the order
   * in which it computes: matrices {@code [out_features, in_features]}, norms and biases
   * one-dimensional. A tied head is not among them.
   */
  public Map<String, List<Long>> tensorShapes() {
    Map<String, List<Long>> shapes = new LinkedHashMap<>();
    shapes.put("model.embed_tokens.weight", shape(vocabSize, hiddenSize));
    for (int layer = 0; layer < layers(); layer++) {
      addLayer(shapes, layer);
    }
    shapes.put("model.norm.weight", List.of((long) hiddenSize));
    if (!tieWordEmbeddings) {
      shapes.put("lm_head.weight", shape(vocabSize, hiddenSize));
    }
    return Collections.unmodifiableMap(shapes);
  }

  private void addLayer(Map<String, List<Long>> shapes, int layer) {
    String prefix = "model.layers." + layer + ".";
    int q = heads(layer) * headDim;
    int kv = kvHeads(layer) * headDim;
    int inner = intermediateSize(layer);
    shapes.put(prefix + "input_layernorm.weight", List.of((long) hiddenSize));
    addLinear(shapes, prefix + "self_attn.q_proj", q, hiddenSize, attentionBias);
    addLinear(shapes, prefix + "self_attn.k_proj", kv, hiddenSize, attentionBias);
    addLinear(shapes, prefix + "self_attn.v_proj", kv, hiddenSize, attentionBias);
    addLinear(shapes, prefix + "self_attn.o_proj", hiddenSize, q, attentionBias);
    shapes.put(prefix + "post_attention_layernorm.weight", List.of((long) hiddenSize));
    addLinear(shapes, prefix + "mlp.gate_proj", inner, hiddenSize, mlpBias);
    addLinear(shapes, prefix + "mlp.up_proj", inner, hiddenSize, mlpBias);
    addLinear(shapes, prefix + "mlp.down_proj", hiddenSize, inner, mlpBias);
  }

  private static void addLinear(
      Map<String, List<Long>> shapes, String path, int out, int in, boolean bias) {
    shapes.put(path + ".weight", shape(out, in));
    if (bias) {
      shapes.put(path + ".bias", List.of((long) out));
    }
  }

  private static List<Long> shape(int out, int in) {
    return List.of((long) out, (long) in);
  }
}
