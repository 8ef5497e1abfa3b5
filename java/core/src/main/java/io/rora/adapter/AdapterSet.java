package io.rora.adapter;

import io.rora.config.ModelConfig;
import io.rora.kernels.FloatArray;
import io.rora.kernels.LowRank;
import io.rora.kernels.RoraContext;
import io.rora.kernels.Weight;
import io.rora.model.AdapterHost;
import io.rora.model.Adapters;
import io.rora.model.LlamaModel;
import java.io.IOException;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The adapters of a model, all their tensors in one arena: first every lora_A, then every lora_B
 * with its magnitudes, which LoRA+ (arXiv:2402.12354) trains at another rate. When they are
 * trained, an arena of gradients lies beside. Any number of sets share one {@link LlamaModel}; a
 * set takes effect where it is attached. Close it after its hosts have let go of it and before the
 * model.
 */
public final class AdapterSet implements Adapters, AutoCloseable {
  // 16 floats are a cache line; the gaps are zero and stay so, as their gradients are zero.
  private static final int ALIGNMENT = 16;

  private final LlamaModel model;
  private final AdapterConfig config;
  private final FloatArray values;
  private final FloatArray gradients;
  private final long split;
  private final Adapter[] adapters;
  private final Weight[] weights;
  private boolean closed;

  private AdapterSet(LlamaModel model, AdapterConfig config, boolean trained) {
    this.model = model;
    this.config = config;
    List<AdapterModule> modules = config.modules(model.config());
    long slow = 0;
    for (AdapterModule module : modules) {
      slow += aligned((long) module.rank() * module.inFeatures());
    }
    this.split = slow;
    RoraContext context = model.context();
    this.values = context.floats(floats(config, model.config()));
    this.gradients = trained ? context.floats(values.length()) : null;
    this.adapters = new Adapter[modules.size()];
    this.weights = new Weight[modules.size()];
    long a = 0;
    long b = split;
    for (int i = 0; i < adapters.length; i++) {
      AdapterModule module = modules.get(i);
      adapters[i] = place(module, a, b);
      weights[i] = model.weight(module.path());
      a += aligned((long) module.rank() * module.inFeatures());
      b += fastFloats(module, config.dora());
    }
  }

  /**
   * Makes the adapters that a configuration names, with lora_A and lora_B zero and magnitudes the
   * norms of the weights' rows.
   *
   * @param trained whether gradients are wanted
   * @throws IllegalArgumentException if the configuration names none of the model's projections
   */
  public static AdapterSet create(LlamaModel model, AdapterConfig config, boolean trained) {
    AdapterSet set = new AdapterSet(model, config, trained);
    for (int i = 0; i < set.adapters.length; i++) {
      if (set.adapters[i] instanceof DoraAdapter dora) {
        float[] norms = new float[dora.module().outFeatures()];
        set.weights[i].rowNorms(norms);
        dora.magnitude().write(0, norms, 0, norms.length);
      }
    }
    set.refresh();
    return set;
  }

  /** Loads a saved adapter that is only used, not trained. */
  public static AdapterSet load(LlamaModel model, SavedAdapter saved) throws IOException {
    return load(model, saved, false);
  }

  /**
   * Loads a saved adapter.
   *
   * @throws io.rora.files.FileFormatException if it was made for another model
   */
  public static AdapterSet load(LlamaModel model, SavedAdapter saved, boolean trained)
      throws IOException {
    saved.requireFor(model.config());
    AdapterSet set = new AdapterSet(model, saved.config(), trained);
    try {
      set.copyFrom(saved);
    } catch (IOException | RuntimeException e) {
      set.close();
      throw e;
    }
    return set;
  }

  /** Copies the tensors of a saved adapter with the same modules, ranks and kind into this set. */
  public void copyFrom(SavedAdapter saved) throws IOException {
    for (Adapter adapter : adapters) {
      write(adapter.loraA(), saved.loraA(adapter.module()));
      write(adapter.loraB(), saved.loraB(adapter.module()));
      if (adapter instanceof DoraAdapter dora) {
        write(dora.magnitude(), saved.magnitude(adapter.module()));
      }
    }
    refresh();
  }

  private static void write(FloatArray target, float[] source) {
    target.write(0, source, 0, source.length);
  }

  private Adapter place(AdapterModule module, long a, long b) {
    int out = module.outFeatures();
    long aLength = (long) module.rank() * module.inFeatures();
    long bLength = (long) out * module.rank();
    long m = b + aligned(bLength);
    boolean dora = config.dora();
    FloatArray magnitude = dora ? values.slice(m, out) : null;
    LowRank kernel =
        model
            .context()
            .lowRank(
                out,
                module.inFeatures(),
                module.rank(),
                module.gamma(),
                values.slice(a, aLength),
                values.slice(b, bLength),
                magnitude,
                gradients == null ? null : gradients.slice(a, aLength),
                gradients == null ? null : gradients.slice(b, bLength),
                gradients == null || !dora ? null : gradients.slice(m, out));
    FloatArray loraA = values.slice(a, aLength);
    FloatArray loraB = values.slice(b, bLength);
    return dora
        ? new DoraAdapter(module, loraA, loraB, magnitude, kernel)
        : new LowRankAdapter(module, loraA, loraB, kernel);
  }

  /** The floats that one arena (values, gradients or a moment) of such adapters needs. */
  public static long floats(AdapterConfig config, ModelConfig model) {
    long floats = 0;
    for (AdapterModule module : config.modules(model)) {
      floats += aligned((long) module.rank() * module.inFeatures());
      floats += fastFloats(module, config.dora());
    }
    return floats;
  }

  private static long fastFloats(AdapterModule module, boolean dora) {
    long b = aligned((long) module.outFeatures() * module.rank());
    return dora ? b + aligned(module.outFeatures()) : b;
  }

  private static long aligned(long floats) {
    return (floats + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  }

  /** The model whose projections these adapters belong to. */
  public LlamaModel model() {
    return model;
  }

  /** Ranks, scaling and targets. */
  public AdapterConfig config() {
    return config;
  }

  /** The adapters in the model's order. */
  public List<Adapter> adapters() {
    return List.of(adapters);
  }

  /** The modules in the model's order. */
  public List<AdapterModule> modules() {
    List<AdapterModule> modules = new ArrayList<>();
    for (Adapter adapter : adapters) {
      modules.add(adapter.module());
    }
    return modules;
  }

  /** The rank of each module by path, as {@code PassOptions.withRanks} wants them. */
  @Override
  public Map<String, Integer> ranks() {
    Map<String, Integer> ranks = new LinkedHashMap<>();
    for (Adapter adapter : adapters) {
      ranks.put(adapter.module().path(), adapter.module().rank());
    }
    return ranks;
  }

  /** All tensors: {@link #split} floats of lora_A, then lora_B and magnitudes. */
  public FloatArray values() {
    return values;
  }

  /** Their gradients, laid out likewise; null unless they are trained. */
  public FloatArray gradients() {
    return gradients;
  }

  /** How many floats of the arena belong to lora_A. */
  public long split() {
    return split;
  }

  /** The number of values, gaps left out. */
  public long parameters() {
    long parameters = 0;
    for (Adapter adapter : adapters) {
      parameters += adapter.module().parameters(config.dora());
    }
    return parameters;
  }

  /** Attaches every adapter to a host of the same model. */
  @Override
  public void attach(AdapterHost host) {
    if (host.model() != model) {
      throw new IllegalArgumentException("the host computes with another model than the adapters");
    }
    for (Adapter adapter : adapters) {
      host.attach(adapter.module().path(), adapter.kernel());
    }
  }

  /**
   * Tells the kernels that the tensors changed; DoRA's norms are computed anew. Allocates nothing.
   */
  public void refresh() {
    for (int i = 0; i < adapters.length; i++) {
      adapters[i].kernel().refresh(weights[i]);
    }
  }

  /** Trains only the first half of every rank from now on: PiSSA's slab. */
  public void trainFirstHalves() {
    for (Adapter adapter : adapters) {
      adapter.kernel().trainRank(adapter.module().rank() / 2);
    }
  }

  /** Frees all of it. A second call does nothing. */
  @Override
  public void close() {
    if (!closed) {
      closed = true;
      for (Adapter adapter : adapters) {
        if (adapter != null) {
          adapter.kernel().close();
        }
      }
      values.close();
      if (gradients != null) {
        gradients.close();
      }
    }
  }
}
