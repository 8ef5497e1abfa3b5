package io.rora.adapter;

import io.rora.kernels.FloatArray;
import io.rora.kernels.LowRank;

/**
 * The adapter of one projection, on a device. RoRA is LoRA with another scaling rule and so the
 * same kind; DoRA adds a tensor.
 */
public sealed interface Adapter permits LowRankAdapter, DoraAdapter {
  /** Which projection, with its rank and gamma. */
  AdapterModule module();

  /** lora_A [rank, in_features]. */
  FloatArray loraA();

  /** lora_B [out_features, rank]. */
  FloatArray loraB();

  /** What the layers compute with; owned by the {@link AdapterSet}. */
  LowRank kernel();
}
