package io.rora.model;

import static io.rora.model.LayerLinears.DOWN;
import static io.rora.model.LayerLinears.GATE_UP;
import static io.rora.model.LayerLinears.GROUPS;
import static io.rora.model.LayerLinears.OUTPUT;
import static io.rora.model.LayerLinears.QKV;

import io.rora.config.ModelConfig;
import io.rora.kernels.Activation;
import io.rora.kernels.Attention;
import io.rora.kernels.Batch;
import io.rora.kernels.DataType;
import io.rora.kernels.FloatArray;
import io.rora.kernels.Layers;
import io.rora.kernels.LowRank;
import io.rora.kernels.RoraContext;
import java.nio.FloatBuffer;

/**
 * Runs a {@link LlamaModel} on packed batches, forwards and backwards, with adapters on any of its
 * projections. Owns the activations for a fixed number of tokens, so that a step makes no Java
 * object and no native allocation.
 *
 * <p>A training step is {@link #forwardLoss} and then {@link #backward} on the same batch, for each
 * micro batch; gradients add up in the adapters' (or the model's) gradient arrays.
 *
 * <p>Not thread-safe. Close it before its model.
 */
public final class LlamaPass implements AutoCloseable, AdapterHost {
  private static final int NOTHING = Integer.MAX_VALUE;

  private final LlamaModel model;
  private final PassOptions options;
  private final float epsilon;
  private final PassBuffers buffers;
  private final LayerLinears[] linears;
  private final Attention[] attentions;
  private final Activation normed;
  private float dropout;
  private long dropoutSeed;
  private long dropoutStep;
  private boolean dropoutOn;
  private int lowest; // the first group, counted through all layers, that is trained
  private boolean closed;

  private LlamaPass(LlamaModel model, PassOptions options) {
    this.model = model;
    this.options = options;
    RoraContext context = model.context();
    ModelConfig config = model.config();
    epsilon = config.rmsNormEps();
    linears = new LayerLinears[config.layers()];
    attentions = new Attention[config.layers()];
    for (int l = 0; l < linears.length; l++) {
      linears[l] = new LayerLinears(context, model.layer(l), l);
      attentions[l] =
          context.attention(
              config.heads(l),
              config.kvHeads(l),
              config.headDim(),
              linears[l].qkv.column(1),
              linears[l].qkv.column(2));
    }
    buffers = new PassBuffers(config, options);
    buffers.allocate(context, model.dataType());
    normed = buffers.normed.activation();
    lowest = nothingAttached();
  }

  /** Makes a pass without adapters. */
  public static LlamaPass create(LlamaModel model, PassOptions options) {
    return new LlamaPass(model, options);
  }

  /** Bytes of activations that a pass allocates on its context. */
  public static long bytes(ModelConfig config, DataType type, PassOptions options) {
    return new PassBuffers(config, options).bytes(type);
  }

  /** What the pass was made for. */
  public PassOptions options() {
    return options;
  }

  @Override
  public LlamaModel model() {
    return model;
  }

  @Override
  public void attach(String path, LowRank adapter) {
    int[] place = LayerLinears.find(model.config(), path);
    if (place == null) {
      throw new IllegalArgumentException(
          path
              + ": the model has no such projection; its projections look like "
              + model.layer(0).query().path());
    }
    int room = options.ranks().getOrDefault(path, 0);
    if (adapter.rank() > room) {
      throw new IllegalArgumentException(
          path
              + ": an adapter of rank "
              + adapter.rank()
              + " does not fit, the pass was made for "
              + "rank "
              + room
              + "; give PassOptions.ranks the largest rank");
    }
    linears[place[0]].attach(place[1], place[2], adapter);
    lowest = Math.min(lowest, place[0] * GROUPS + place[1]);
  }

  @Override
  public void detachAll() {
    for (LayerLinears layer : linears) {
      layer.detachAll();
    }
    lowest = nothingAttached();
  }

  // With full fine-tuning the embedding, below the first group, is trained.
  private int nothingAttached() {
    return model.isTrained() ? -1 : NOTHING;
  }

  /**
   * Sets the dropout of the adapters' inputs for the following {@link #forwardLoss} and {@link
   * #backward} calls; {@link #loss} has none.
   *
   * @param probability of dropping an element, 0 for none
   * @param step the optimiser step, which with the seed and {@code Batch.order()} decides on masks
   */
  public void setDropout(float probability, long seed, long step) {
    dropout = probability;
    dropoutSeed = seed;
    dropoutStep = step;
  }

  private void applyDropout(boolean training) {
    boolean wanted = training && dropout > 0;
    if (!wanted && !dropoutOn) {
      return;
    }
    for (int l = 0; l < linears.length; l++) {
      linears[l].setDropout(wanted ? dropout : 0, dropoutSeed, dropoutStep);
    }
    dropoutOn = wanted;
  }

  /**
   * The sum of cross entropies over the batch's supervised tokens, undivided.
   *
   * @param tokenLoss receives each token's own loss, 0 where it has no label; direct, or null
   */
  public double loss(Batch batch, FloatBuffer tokenLoss) {
    applyDropout(false);
    Activation hidden = forward(batch, null);
    return Layers.crossEntropy(model.head(), batch, hidden, 1, tokenLoss, null);
  }

  /**
   * As {@link #loss}, and prepares {@link #backward}, which must follow before another batch.
   *
   * @param divisor supervised tokens of the whole optimiser batch, by which gradients are divided;
   *     the returned sum is not
   */
  public double forwardLoss(Batch batch, double divisor) {
    checkTrains();
    applyDropout(true);
    Activation hidden = forward(batch, null);
    return Layers.crossEntropy(
        model.head(), batch, hidden, divisor, null, buffers.dNormed.activation());
  }

  /**
   * The model, from token ids to the hidden states that the head reads.
   *
   * @param cache keys and values of earlier tokens, to which the batch's are added; or null, when
   *     tokens attend within the batch
   */
  Activation forward(Batch batch, KeyValueCache cache) {
    buffers.resize(batch.tokens());
    Layers.embeddingForward(model.embedding(), batch, buffers.layer(0).input().activation());
    for (int l = 0; l < linears.length; l++) {
      attentionBlock(batch, l, cache);
      gateUp(batch, l);
      down(batch, l);
    }
    Activation last = buffers.layer(linears.length - 1).output().activation();
    Layers.rmsNormForward(last, model.finalNorm().values(), epsilon, normed);
    return normed;
  }

  /** middle = input + o(attention(rope(q), rope(k), v)), all of norm(input). */
  private void attentionBlock(Batch batch, int l, KeyValueCache cache) {
    LlamaLayer layer = model.layer(l);
    PassBuffers.Layer at = buffers.layer(l);
    Activation qkv = at.qkv().activation();
    Activation attended = at.attention().activation();

    Layers.rmsNormForward(at.input().activation(), layer.inputNorm().values(), epsilon, normed);
    linears[l].qkv.forward(batch, normed, null, qkv);
    model.rope().apply(batch, 0, rotatedHeads(l), false, qkv);
    if (cache == null) {
      attentions[l].forward(batch, qkv, sums(at), attended);
    } else {
      attentions[l].cached(batch, qkv, cache.layer(l), attended);
    }
    linears[l].output.forward(batch, attended, at.input().activation(), at.middle().activation());
  }

  /** gate and up of norm(middle). */
  private void gateUp(Batch batch, int l) {
    PassBuffers.Layer at = buffers.layer(l);
    FloatArray norm = model.layer(l).postAttentionNorm().values();
    Layers.rmsNormForward(at.middle().activation(), norm, epsilon, normed);
    linears[l].gateUp.forward(batch, normed, null, at.gateUp().activation());
  }

  /** output = middle + down(silu(gate) * up). */
  private void down(Batch batch, int l) {
    PassBuffers.Layer at = buffers.layer(l);
    Activation activated = at.activated().activation();
    Layers.swigluForward(at.gateUp().activation(), upColumn(l), activated);
    linears[l].down.forward(batch, activated, at.middle().activation(), at.output().activation());
  }

  // Keys stand right behind queries (a head is even), so one call rotates both.
  private int rotatedHeads(int l) {
    return model.config().heads(l) + model.config().kvHeads(l);
  }

  private long upColumn(int l) {
    return linears[l].gateUp.column(1);
  }

  private static FloatArray sums(PassBuffers.Layer at) {
    return at.sums() == null ? null : at.sums().array();
  }

  /**
   * Adds the gradients of the batch that {@link #forwardLoss} saw to those of the attached
   * adapters, or of the whole model when it is trained. Stops below the lowest of them.
   */
  public void backward(Batch batch) {
    checkTrains();
    Activation gradient = buffers.gradient.activation();
    int top = linears.length - 1;
    gradient.clear();
    normBackward(buffers.layer(top).output(), model.finalNorm());
    for (int l = top; l >= 0 && l * GROUPS + DOWN >= lowest; l--) {
      recompute(batch, l);
      if (feedForwardBackward(batch, l)) {
        attentionBlockBackward(batch, l);
      }
    }
    if (model.isTrained()) {
      Layers.embeddingBackward(model.embedding(), batch, gradient);
    }
  }

  /** Runs again what checkpointing did not keep of the layer. */
  private void recompute(Batch batch, int l) {
    if (options.checkpointing() == Checkpointing.LAYER) {
      attentionBlock(batch, l, null);
    }
    if (options.checkpointing() != Checkpointing.NONE) {
      gateUp(batch, l);
    }
  }

  /**
   * From the gradient of the layer's output to that of its middle, which take the same place.
   *
   * @return whether anything below is trained
   */
  private boolean feedForwardBackward(Batch batch, int l) {
    LlamaLayer layer = model.layer(l);
    PassBuffers.Layer at = buffers.layer(l);
    Activation gradient = buffers.gradient.activation();
    Activation gateUp = at.gateUp().activation();
    Activation activated = null;
    if (isTrained(l, DOWN)) {
      activated = at.activated().activation();
      Layers.swigluForward(gateUp, upColumn(l), activated);
      linears[l].down.shrink(batch, activated);
    }
    Activation dActivated = goesBelow(l, DOWN) ? at.dActivated().activation() : null;
    linears[l].down.backward(batch, activated, gradient, false, dActivated);
    if (dActivated == null) {
      return false;
    }
    Layers.swigluBackward(gateUp, upColumn(l), dActivated, gateUp);
    if (isTrained(l, GATE_UP) && options.checkpointing() == Checkpointing.NONE) {
      Layers.rmsNormForward(
          at.middle().activation(), layer.postAttentionNorm().values(), epsilon, normed);
      linears[l].gateUp.shrink(batch, normed);
    }
    Activation dNormed = goesBelow(l, GATE_UP) ? buffers.dNormed.activation() : null;
    linears[l].gateUp.backward(
        batch, isTrained(l, GATE_UP) ? normed : null, gateUp, false, dNormed);
    if (dNormed == null) {
      return false;
    }
    normBackward(at.middle(), layer.postAttentionNorm());
    return true;
  }

  /** From the gradient of the layer's middle to that of its input, which take the same place. */
  private void attentionBlockBackward(Batch batch, int l) {
    LlamaLayer layer = model.layer(l);
    PassBuffers.Layer at = buffers.layer(l);
    Activation gradient = buffers.gradient.activation();
    Activation attended = at.attention().activation();
    Activation dQkv = at.dQkv().activation();
    Activation dAttended = goesBelow(l, OUTPUT) ? at.dAttention().activation() : null;
    linears[l].output.backward(
        batch, isTrained(l, OUTPUT) ? attended : null, gradient, false, dAttended);
    if (dAttended == null) {
      return;
    }
    attentions[l].backward(batch, at.qkv().activation(), attended, sums(at), dAttended, dQkv);
    model.rope().apply(batch, 0, rotatedHeads(l), true, dQkv);
    if (isTrained(l, QKV)) {
      Layers.rmsNormForward(at.input().activation(), layer.inputNorm().values(), epsilon, normed);
      linears[l].qkv.shrink(batch, normed);
    }
    Activation dNormed = goesBelow(l, QKV) ? buffers.dNormed.activation() : null;
    linears[l].qkv.backward(batch, isTrained(l, QKV) ? normed : null, dQkv, false, dNormed);
    if (dNormed != null) {
      normBackward(at.input(), layer.inputNorm());
    }
  }

  /**
   * Takes the gradient of a norm's output, in dNormed, to its input's, adding to the residual's.
   */
  private void normBackward(PassBuffers.Slot input, ModelVector norm) {
    Layers.rmsNormBackward(
        input.activation(),
        norm.values(),
        epsilon,
        buffers.dNormed.activation(),
        norm.gradient(),
        buffers.gradient.activation());
  }

  private boolean isTrained(int l, int group) {
    return model.isTrained() || linears[l].adapted(group);
  }

  private boolean goesBelow(int l, int group) {
    return l * GROUPS + group > lowest;
  }

  private void checkTrains() {
    if (!options.training()) {
      throw new IllegalStateException("this pass was made for evaluation: PassOptions.training");
    }
    if (lowest == NOTHING) {
      throw new IllegalStateException(
          "nothing to train: attach adapters, or LlamaModel.train first");
    }
  }

  /** Frees the activations. A second call does nothing. */
  @Override
  public void close() {
    if (!closed) {
      closed = true;
      buffers.close();
      for (int l = 0; l < linears.length; l++) {
        linears[l].close();
        attentions[l].close();
      }
    }
  }
}
