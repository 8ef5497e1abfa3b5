package io.rora.adapter;

import io.rora.kernels.FloatArray;
import io.rora.kernels.LowRank;

/** W + gamma B A (arXiv:2106.09685): LoRA or RoRA by its gamma. */
public record LowRankAdapter(
    AdapterModule module, FloatArray loraA, FloatArray loraB, LowRank kernel) implements Adapter {}
