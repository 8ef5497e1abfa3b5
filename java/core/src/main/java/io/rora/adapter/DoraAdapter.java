package io.rora.adapter;

import io.rora.kernels.FloatArray;
import io.rora.kernels.LowRank;

/**
 * (m / |V|) o V with V = W + gamma B A (arXiv:2402.09353), |V| the norms of V's rows.
 *
 * @param magnitude m [out_features]
 */
public record DoraAdapter(
    AdapterModule module, FloatArray loraA, FloatArray loraB, FloatArray magnitude, LowRank kernel)
    implements Adapter {}
