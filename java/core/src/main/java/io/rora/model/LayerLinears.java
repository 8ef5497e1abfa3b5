package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.kernels.LinearGroup;
import io.rora.kernels.LowRank;
import io.rora.kernels.RoraContext;
import java.util.Map;

/**
 * The four linear groups of a layer as one host sees them: the model's weights, the host's
 * adapters. Projections of one group read the same input and write side by side.
 */
final class LayerLinears {
  /** q, k and v. */
  static final int QKV = 0;

  /** o. */
  static final int OUTPUT = 1;

  /** gate and up. */
  static final int GATE_UP = 2;

  /** down. */
  static final int DOWN = 3;

  /** Groups of a layer, in the order of the forward pass. */
  static final int GROUPS = 4;

  // A group has up to three projections; four mask streams each keep the numbers of modules apart.
  private static final int STREAMS = 4;

  private static final String[][] NAMES = {
    {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"},
    {"self_attn.o_proj"},
    {"mlp.gate_proj", "mlp.up_proj"},
    {"mlp.down_proj"}
  };

  final LinearGroup qkv;
  final LinearGroup output;
  final LinearGroup gateUp;
  final LinearGroup down;
  private final LinearGroup[] groups;
  private final int[] attached = new int[GROUPS];
  private final int index;

  LayerLinears(RoraContext context, LlamaLayer layer, int index) {
    this.index = index;
    qkv = group(context, layer.query(), layer.key(), layer.value());
    output = group(context, layer.output());
    gateUp = group(context, layer.gate(), layer.up());
    down = group(context, layer.down());
    groups = new LinearGroup[] {qkv, output, gateUp, down};
  }

  private static LinearGroup group(RoraContext context, Projection... projections) {
    LinearGroup group = context.linear(projections.length);
    for (int i = 0; i < projections.length; i++) {
      ModelVector bias = projections[i].bias();
      group.setWeight(
          i,
          projections[i].weight(),
          bias == null ? null : bias.values(),
          bias == null ? null : bias.gradient());
    }
    return group;
  }

  /** Attaches an adapter to projection {@code member} of group {@code group}. */
  void attach(int group, int member, LowRank adapter) {
    groups[group].setAdapter(member, adapter);
    attached[group] |= 1 << member;
  }

  void detachAll() {
    for (int group = 0; group < GROUPS; group++) {
      for (int member = 0; member < NAMES[group].length; member++) {
        groups[group].setAdapter(member, null);
      }
      attached[group] = 0;
    }
  }

  /** Whether the group has an adapter. */
  boolean adapted(int group) {
    return attached[group] != 0;
  }

  /** Sets the dropout of the adapters' inputs, each module with a mask stream of its own. */
  void setDropout(float probability, long seed, long step) {
    for (int group = 0; group < GROUPS; group++) {
      int stream = (index * GROUPS + group) * STREAMS;
      groups[group].setDropout(probability, seed, step, stream);
    }
  }

  void close() {
    for (LinearGroup group : groups) {
      group.close();
    }
  }

  /**
   * Tail columns that adapters of these ranks need in what {@code group} of {@code layer} reads.
   */
  static long tail(Map<String, Integer> ranks, int layer, int group) {
    long tail = 0;
    for (String name : NAMES[group]) {
      int rank = ranks.getOrDefault(path(layer, name), 0);
      tail += rank + (rank & 1); // as rora_linear_tail
    }
    return tail;
  }

  /** Where a projection stands: layer, group, and member of the group. Null if there is none. */
  static int[] find(ModelConfig config, String path) {
    for (int layer = 0; layer < config.layers(); layer++) {
      if (!path.startsWith("model.layers." + layer + ".")) {
        continue;
      }
      for (int group = 0; group < GROUPS; group++) {
        for (int member = 0; member < NAMES[group].length; member++) {
          if (path.equals(path(layer, NAMES[group][member]))) {
            return new int[] {layer, group, member};
          }
        }
      }
    }
    return null;
  }

  private static String path(int layer, String name) {
    return "model.layers." + layer + "." + name;
  }
}
