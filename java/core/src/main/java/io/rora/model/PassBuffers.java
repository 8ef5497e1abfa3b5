package io.rora.model;

import static io.rora.model.LayerLinears.DOWN;
import static io.rora.model.LayerLinears.GATE_UP;
import static io.rora.model.LayerLinears.OUTPUT;
import static io.rora.model.LayerLinears.QKV;

import io.rora.config.ModelConfig;
import io.rora.kernels.Activation;
import io.rora.kernels.DataType;
import io.rora.kernels.FloatArray;
import io.rora.kernels.RoraContext;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Which activations a pass has and which layers share them. Planned first, so that an estimate
 * counts what will be allocated, and then allocated.
 */
final class PassBuffers {
  /** One planned activation. */
  static final class Slot {
    private final long width;
    private long tail;
    private Activation activation;

    private Slot(long width) {
      this.width = width;
    }

    private Slot room(long newTail) {
      tail = Math.max(tail, newTail);
      return this;
    }

    Activation activation() {
      return activation;
    }
  }

  /**
   * What the backward pass of attention reads beside activations: [heads, tokens rounded up to 64].
   */
  static final class Sums {
    private final long floats;
    private FloatArray array;

    private Sums(long floats) {
      this.floats = floats;
    }

    FloatArray array() {
      return array;
    }
  }

  /** The activations of one layer; those that are not kept are shared with other layers. */
  record Layer(
      Slot input,
      Slot qkv,
      Slot attention,
      Sums sums,
      Slot middle,
      Slot gateUp,
      Slot activated,
      Slot output,
      Slot dActivated,
      Slot dAttention,
      Slot dQkv) {}

  private final ModelConfig config;
  private final PassOptions options;
  private final List<Slot> slots = new ArrayList<>();
  private final List<Sums> allSums = new ArrayList<>();
  private final Map<String, Slot> shared = new HashMap<>();
  private final Map<Long, Sums> sharedSums = new HashMap<>();
  private final Layer[] layers;

  /** Norms' output: the input of q/k/v, of gate/up and of the head. */
  final Slot normed;

  /** Gradient of {@link #normed}; null in a pass that does not train. */
  final Slot dNormed;

  /** Gradient of the residual stream; likewise. */
  final Slot gradient;

  PassBuffers(ModelConfig config, PassOptions options) {
    this.config = config;
    this.options = options;
    long hidden = config.hiddenSize();
    normed = make(hidden);
    dNormed = options.training() ? make(hidden) : null;
    gradient = options.training() ? make(hidden) : null;
    layers = new Layer[config.layers()];
    Slot input = options.training() ? make(hidden) : share("residual", hidden);
    for (int l = 0; l < layers.length; l++) {
      layers[l] = plan(l, input);
      input = layers[l].output();
    }
  }

  private Layer plan(int l, Slot input) {
    boolean training = options.training();
    boolean keep = training && options.checkpointing() != Checkpointing.LAYER;
    boolean keepMlp = training && options.checkpointing() == Checkpointing.NONE;
    long hidden = config.hiddenSize();
    long queries = (long) config.heads(l) * config.headDim();
    long keys = (long) config.kvHeads(l) * config.headDim();
    long inner = config.intermediateSize(l);
    long qkvWidth = even(queries) + 2 * even(keys);
    long qkvTail = tail(l, QKV);
    long outputTail = tail(l, OUTPUT);
    long gateUpTail = tail(l, GATE_UP);
    long downTail = tail(l, DOWN);
    normed.room(Math.max(qkvTail, gateUpTail));
    if (training) {
      gradient.room(Math.max(outputTail, downTail));
    }
    return new Layer(
        input,
        keep ? make(qkvWidth) : share("qkv", qkvWidth),
        (keep ? make(queries) : share("attention", queries)).room(outputTail),
        training ? sums(config.heads(l), keep) : null,
        keep ? make(hidden) : share(training ? "middle" : "residual", hidden),
        // Its gradient takes its place, so in training it has room for what the backward pass adds.
        (keepMlp ? make(2 * even(inner)) : share("gateUp", 2 * even(inner)))
            .room(training ? gateUpTail : 0),
        share("activated", inner).room(downTail),
        training ? make(hidden) : share("residual", hidden),
        training ? share("dActivated", inner) : null,
        training ? share("dAttention", queries) : null,
        training ? share("dQkv", qkvWidth).room(qkvTail) : null);
  }

  private long tail(int layer, int group) {
    return LayerLinears.tail(options.ranks(), layer, group);
  }

  private Slot make(long width) {
    Slot slot = new Slot(width);
    slots.add(slot);
    return slot;
  }

  // Layers of one width share; a model with layers of different widths has a slot for each width.
  private Slot share(String purpose, long width) {
    return shared.computeIfAbsent(purpose + width, key -> make(width));
  }

  private Sums sums(int heads, boolean keep) {
    long floats = heads * ((options.maxTokens() + 63L) / 64 * 64);
    if (!keep && sharedSums.containsKey(floats)) {
      return sharedSums.get(floats);
    }
    Sums sums = new Sums(floats);
    allSums.add(sums);
    sharedSums.put(floats, sums);
    return sums;
  }

  private static long even(long n) {
    return n + (n & 1);
  }

  Layer layer(int index) {
    return layers[index];
  }

  /** Bytes that {@link #allocate} takes. */
  long bytes(DataType type) {
    long bytes = 0;
    for (Slot slot : slots) {
      bytes += Activation.bytes(type, options.maxTokens(), slot.width, slot.tail);
    }
    for (Sums sums : allSums) {
      bytes += DeviceBytes.floats(sums.floats);
    }
    return bytes;
  }

  void allocate(RoraContext context, DataType type) {
    for (Slot slot : slots) {
      slot.activation = context.activation(type, options.maxTokens(), slot.width, slot.tail);
    }
    for (Sums sums : allSums) {
      sums.array = context.floats(sums.floats);
    }
  }

  /** Sets the number of tokens of all activations. */
  void resize(int tokens) {
    for (int i = 0; i < slots.size(); i++) {
      slots.get(i).activation.resize(tokens);
    }
  }

  void close() {
    for (Slot slot : slots) {
      if (slot.activation != null) {
        slot.activation.close();
      }
    }
    for (Sums sums : allSums) {
      if (sums.array != null) {
        sums.array.close();
      }
    }
  }
}
