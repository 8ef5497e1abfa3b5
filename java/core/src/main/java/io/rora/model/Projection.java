package io.rora.model;

import io.rora.kernels.Weight;

/**
 * One linear projection of a layer.
 *
 * @param path such as {@code model.layers.0.self_attn.q_proj}
 * @param bias null where the model has none
 */
record Projection(String path, Weight weight, ModelVector bias) {}
