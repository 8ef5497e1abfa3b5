package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.config.RopeConfig;
import io.rora.config.RopeScaling;
import io.rora.files.FileFormatException;
import io.rora.gguf.GgufDequantizer;
import io.rora.gguf.GgufFile;
import io.rora.gguf.GgufMetadata;
import io.rora.gguf.GgufTensor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.OptionalInt;
import java.util.Set;

/**
 * Reads a model's configuration from the metadata and tensors of a GGUF file, with llama.cpp's
 * defaults.
 */
final class GgufConfig {
  private static final int MAX = Integer.MAX_VALUE;

  /**
   * Keys (after the architecture's name) of arithmetic that LLaMA models do not have, with the
   * value that means none.
   */
  private static final List<Neutral> NEUTRAL =
      List.of(
          new Neutral("expert_count", 0),
          new Neutral("attention.sliding_window", 0),
          new Neutral("attention.clamp_kqv", 0),
          new Neutral("attention.max_alibi_bias", 0),
          new Neutral("attn_logit_softcapping", 0),
          new Neutral("final_logit_softcapping", 0),
          new Neutral("attention.scale", 0),
          new Neutral("logit_scale", 1),
          new Neutral("embedding_scale", 1),
          new Neutral("residual_scale", 1),
          new Neutral("rope.scaling.attn_factor", 1));

  private final GgufFile file;
  private final GgufMetadata metadata;

  GgufConfig(GgufFile file) {
    this.file = file;
    this.metadata = file.metadata();
  }

  private record Neutral(String key, double value) {}

  ModelConfig read() throws IOException {
    refuseOtherArithmetic();
    int layers = metadata.integer("llama.block_count", 1, ModelConfig.MAX_LAYERS);
    int hidden = metadata.integer("llama.embedding_length", 1, MAX);
    List<Integer> heads = perLayer("llama.attention.head_count", layers);
    String kvKey = "llama.attention.head_count_kv";
    int headDim = headDim(hidden, heads);
    try {
      return new ModelConfig(
          ModelConfig.Architecture.LLAMA,
          vocabSize(),
          hidden,
          headDim,
          perLayer("llama.feed_forward_length", layers),
          heads,
          metadata.has(kvKey) ? perLayer(kvKey, layers) : heads,
          file.tensors().containsKey("blk.0.attn_q.bias"),
          file.tensors().containsKey("blk.0.ffn_gate.bias"),
          !file.tensors().containsKey("output.weight"),
          rope(headDim),
          (float) metadata.number("llama.attention.layer_norm_rms_epsilon"),
          metadata.integer("llama.context_length", 1, MAX),
          optionalId("tokenizer.ggml.bos_token_id"),
          endIds(),
          optionalId("tokenizer.ggml.padding_token_id"));
    } catch (IllegalArgumentException e) {
      throw new FileFormatException(file.path(), e.getMessage());
    }
  }

  private void refuseOtherArithmetic() throws FileFormatException {
    String architecture = metadata.string("general.architecture");
    if (!architecture.equals("llama")) {
      throw metadata.error(
          "general.architecture",
          "is " + architecture + "; supported is llama, which Mistral models say too");
    }
    int parts = metadata.integer("split.count", 0, MAX, 1);
    if (parts > 1) {
      throw metadata.error(
          "split.count",
          "is "
              + parts
              + ": this is one of several parts; join them with llama-gguf-split --merge");
    }
    for (Neutral neutral : NEUTRAL) {
      String key = "llama." + neutral.key();
      double value = metadata.number(key, neutral.value());
      if (value != neutral.value()) {
        throw metadata.error(
            key,
            "is "
                + value
                + ", which is not supported; plain LLaMA models have "
                + neutral.value()
                + " or no such key");
      }
    }
  }

  /** Returns a number per layer from a key that is a list, or one number for all. */
  private List<Integer> perLayer(String key, int layers) throws FileFormatException {
    if (!metadata.isList(key)) {
      return Collections.nCopies(layers, metadata.integer(key, 1, MAX));
    }
    List<Integer> sizes = new ArrayList<>();
    for (int size : metadata.integers(key, 1, MAX)) {
      sizes.add(size);
    }
    if (sizes.size() != layers) {
      throw metadata.error(
          key,
          "has " + sizes.size() + " numbers, expected one for each of the " + layers + " layers");
    }
    return sizes;
  }

  private int headDim(int hidden, List<Integer> heads) throws FileFormatException {
    String key = "llama.attention.key_length";
    if (!metadata.has(key) && hidden % heads.get(0) != 0) {
      throw metadata.error(
          key,
          "is missing, and the embedding's "
              + hidden
              + " columns are no multiple of "
              + heads.get(0)
              + " heads");
    }
    int dim = metadata.integer(key, 2, MAX, hidden / heads.get(0));
    for (String same : List.of("llama.attention.value_length", "llama.rope.dimension_count")) {
      if (metadata.integer(same, 1, MAX, dim) != dim) {
        throw metadata.error(
            same,
            "is "
                + metadata.integer(same, 1, MAX)
                + "; only the width of a head, "
                + dim
                + ", is supported");
      }
    }
    return dim;
  }

  private int vocabSize() throws FileFormatException {
    GgufTensor embedding = file.tensors().get("token_embd.weight");
    if (embedding == null || embedding.shape().size() != 2) {
      throw new FileFormatException(
          file.path(), "there is no matrix token_embd.weight; it holds no LLaMA model");
    }
    int rows = (int) Math.min(MAX, embedding.shape().get(0));
    if (metadata.integer("llama.vocab_size", 1, MAX, rows) != rows) {
      throw metadata.error(
          "llama.vocab_size",
          "is "
              + metadata.integer("llama.vocab_size", 1, MAX)
              + ", but token_embd.weight has "
              + rows
              + " rows");
    }
    return rows;
  }

  private OptionalInt optionalId(String key) throws FileFormatException {
    return metadata.has(key) ? OptionalInt.of(metadata.integer(key, 0, MAX)) : OptionalInt.empty();
  }

  private List<Integer> endIds() throws FileFormatException {
    Set<Integer> ids = new LinkedHashSet<>();
    for (String name : List.of("eos", "eot", "eom")) {
      optionalId("tokenizer.ggml." + name + "_token_id").ifPresent(ids::add);
    }
    return List.copyOf(ids);
  }

  // ---- rope ----

  private RopeConfig rope(int headDim) throws IOException {
    double theta = metadata.number("llama.rope.freq_base", 10000);
    RopeScaling scaling = linearScaling();
    GgufTensor divisors = file.tensors().get(GgufNames.ROPE_DIVISORS);
    if (divisors == null) {
      return new RopeConfig(theta, scaling);
    }
    if (!(scaling instanceof RopeScaling.None)) {
      throw metadata.error(
          "llama.rope.scaling.type",
          "is set beside the tensor rope_freqs.weight; one scaling at a time is supported");
    }
    return new RopeConfig(theta, new RopeScaling.Divisors(readDivisors(divisors, headDim)));
  }

  /**
   * llama.cpp takes a factor without a type as linear scaling, and 0 as 1; older files have another
   * key.
   */
  private RopeScaling linearScaling() throws FileFormatException {
    double old = metadata.number("llama.rope.scale_linear", 1);
    double factor = metadata.number("llama.rope.scaling.factor", old);
    String type = metadata.string("llama.rope.scaling.type", "linear");
    if (factor == 0 || factor == 1) {
      return new RopeScaling.None();
    }
    if (!type.equals("linear")) {
      throw metadata.error(
          "llama.rope.scaling.type",
          "is "
              + type
              + " with factor "
              + factor
              + "; linear is supported, and llama3 as the tensor rope_freqs.weight");
    }
    return new RopeScaling.Linear(factor);
  }

  private List<Float> readDivisors(GgufTensor tensor, int headDim) throws IOException {
    if (!tensor.shape().equals(List.of(headDim / 2L)) || tensor.type().quantised()) {
      throw new FileFormatException(
          file.path(),
          "rope_freqs.weight is "
              + tensor.type()
              + " of shape "
              + tensor.shape()
              + ", expected F32 of shape ["
              + headDim / 2
              + "]");
    }
    byte[] bytes = new byte[(int) tensor.bytes()];
    file.read(tensor, 0, ByteBuffer.wrap(bytes));
    float[] values = new float[headDim / 2];
    GgufDequantizer.dequantize(tensor.type(), values.length, bytes, 0, values, 0);
    List<Float> divisors = new ArrayList<>();
    for (float value : values) {
      divisors.add(value);
    }
    return divisors;
  }
}
