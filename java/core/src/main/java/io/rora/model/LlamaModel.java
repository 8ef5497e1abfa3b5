package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.kernels.DataType;
import io.rora.kernels.FloatArray;
import io.rora.kernels.Rope;
import io.rora.kernels.RoraContext;
import io.rora.kernels.Weight;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The weights of a LLaMA model (arXiv:2302.13971) on a device. Loaded once; any number of {@link
 * LlamaPass passes} and {@link LlamaDecoder decoders}, each with its own adapters, compute with
 * them. How they compute stands in {@link LlamaPass}, top to bottom.
 *
 * <p>The weights are frozen, except between {@link #train} and {@link #freeze}.
 *
 * <p>Not thread-safe, like its context. Close it before the context and after everything that
 * computes with it.
 */
public final class LlamaModel implements AutoCloseable {
  private final RoraContext context;
  private final ModelConfig config;
  private final DataType dataType;
  private final Map<String, Weight> weights;
  private final Map<String, ModelVector> vectors;
  private final List<LlamaLayer> layers = new ArrayList<>();
  private final Rope rope;
  private boolean trained;

  /** Over tensors by name; owns the weights. */
  LlamaModel(
      RoraContext context,
      ModelConfig config,
      DataType dataType,
      Map<String, Weight> weights,
      Map<String, ModelVector> vectors) {
    this.context = context;
    this.config = config;
    this.dataType = dataType;
    this.weights = new LinkedHashMap<>(weights);
    this.vectors = vectors;
    for (int l = 0; l < config.layers(); l++) {
      layers.add(layer("model.layers." + l + "."));
    }
    this.rope =
        context.rope(
            config.maxPositionEmbeddings(),
            config.headDim(),
            config.rope().inverseFrequencies(config.headDim()));
  }

  /**
   * Loads a model.
   *
   * @param type F32 or BF16: what weights are stored as and what passes compute with
   * @throws IllegalArgumentException if a tensor is missing or of another shape than the
   *     configuration says, or {@code type} is F16
   * @throws IOException if the files cannot be read or a weight is NaN or infinite
   */
  public static LlamaModel load(
      RoraContext context, WeightSource source, DataType type, LoadListener listener)
      throws IOException {
    return new LlamaLoader(context, source, type, listener).load();
  }

  /** As {@link #load(RoraContext, WeightSource, DataType, LoadListener)}, unheard. */
  public static LlamaModel load(RoraContext context, WeightSource source, DataType type)
      throws IOException {
    return load(context, source, type, LoadListener.none());
  }

  private LlamaLayer layer(String prefix) {
    return new LlamaLayer(
        vectors.get(prefix + "input_layernorm.weight"),
        projection(prefix + "self_attn.q_proj"),
        projection(prefix + "self_attn.k_proj"),
        projection(prefix + "self_attn.v_proj"),
        projection(prefix + "self_attn.o_proj"),
        vectors.get(prefix + "post_attention_layernorm.weight"),
        projection(prefix + "mlp.gate_proj"),
        projection(prefix + "mlp.up_proj"),
        projection(prefix + "mlp.down_proj"));
  }

  private Projection projection(String path) {
    return new Projection(path, weights.get(path + ".weight"), vectors.get(path + ".bias"));
  }

  /** The architecture. */
  public ModelConfig config() {
    return config;
  }

  /** The type of weights and activations. */
  public DataType dataType() {
    return dataType;
  }

  /** The context whose memory the model lives in. */
  public RoraContext context() {
    return context;
  }

  /** The table that turns token ids into hidden states [vocabulary, hidden]. */
  public Weight embedding() {
    return weights.get("model.embed_tokens.weight");
  }

  /** The output head [vocabulary, hidden]; the embedding itself where they are tied. */
  public Weight head() {
    return config.tieWordEmbeddings() ? embedding() : weights.get("lm_head.weight");
  }

  /**
   * The weight of a projection.
   *
   * @param path such as {@code model.layers.0.self_attn.q_proj}
   * @throws IllegalArgumentException if there is no such projection
   */
  public Weight weight(String path) {
    Weight weight = weights.get(path + ".weight");
    if (weight == null || !isProjection(path)) {
      throw new IllegalArgumentException(
          path
              + ": the model has no such projection; its projections look like "
              + layers.get(0).query().path());
    }
    return weight;
  }

  /**
   * The paths of all projections that take adapters, layer by layer: q, k, v, o, gate, up, down.
   */
  public List<String> projectionPaths() {
    return projectionPaths(config);
  }

  /** As {@link #projectionPaths()}, of a model that need not be loaded. */
  public static List<String> projectionPaths(ModelConfig config) {
    return ModelTensor.of(config).stream()
        .filter(tensor -> tensor.role() == ModelTensor.Role.PROJECTION)
        .map(tensor -> tensor.name().substring(0, tensor.name().length() - ".weight".length()))
        .toList();
  }

  private static boolean isProjection(String path) {
    return path.endsWith("_proj");
  }

  /**
   * Binds every tensor to two arenas for full fine-tuning: its values are copied into the first,
   * and backward passes add to the second. Tensors lie as {@link TrainableTensor#of} says; both
   * gradients of a tied head add up in the embedding's. Passes made before do not know of it: make
   * them after.
   *
   * @param values {@link TrainableTensor#arenaFloats} floats; receives the model's values
   * @param gradients as many, zero
   */
  public void train(FloatArray values, FloatArray gradients) {
    long floats = TrainableTensor.arenaFloats(config);
    if (values.length() != floats || gradients.length() != floats) {
      throw new IllegalArgumentException(
          "arenas of "
              + values.length()
              + " and "
              + gradients.length()
              + " floats: this model needs "
              + floats);
    }
    for (TrainableTensor trainable : TrainableTensor.of(config)) {
      ModelTensor tensor = trainable.tensor();
      FloatArray master = values.slice(trainable.offset(), tensor.elements());
      FloatArray gradient = gradients.slice(trainable.offset(), tensor.elements());
      if (tensor.isVector()) {
        vectors.get(tensor.name()).train(master, gradient);
      } else {
        Weight weight = weights.get(tensor.name());
        weight.train(master, gradient);
        weight.toMaster();
      }
    }
    trained = true;
  }

  /** Brings the values that {@link #train} bound into the weights, after a change to them. */
  public void refresh() {
    for (LlamaLayer layer : layers) {
      layer.refresh();
    }
    embedding().refresh();
    if (!config.tieWordEmbeddings()) {
      head().refresh();
    }
  }

  /** Ends full fine-tuning: the model keeps its present values and lets go of the arenas. */
  public void freeze() {
    if (trained) {
      refresh();
      weights.values().forEach(weight -> weight.train(null, null));
      vectors.values().forEach(ModelVector::freeze);
      trained = false;
    }
  }

  /** Whether the model's own tensors are being trained. */
  public boolean isTrained() {
    return trained;
  }

  LlamaLayer layer(int index) {
    return layers.get(index);
  }

  ModelVector finalNorm() {
    return vectors.get("model.norm.weight");
  }

  Rope rope() {
    return rope;
  }

  /** Bytes that a model takes on its context. */
  public static long bytes(ModelConfig config, DataType type) {
    long bytes = 0;
    for (ModelTensor tensor : ModelTensor.of(config)) {
      bytes +=
          tensor.isVector()
              ? DeviceBytes.floats(tensor.elements())
              : tensor.elements() * type.bytes();
    }
    return bytes;
  }

  /** Frees the weights. A second call does nothing. */
  @Override
  public void close() {
    weights.values().forEach(Weight::close);
    vectors.values().forEach(ModelVector::close);
    rope.close();
  }
}
