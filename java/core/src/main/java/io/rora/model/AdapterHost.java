package io.rora.model;

import io.rora.kernels.LowRank;
import io.rora.kernels.Weight;

/**
 * Something that computes with a {@link LlamaModel} and lets adapters join its projections.
 * Adapters are attached to a host, never to the model, so that hosts with different adapters share
 * one model.
 */
public interface AdapterHost {
  /** The model whose projections take the adapters. */
  LlamaModel model();

  /**
   * Attaches an adapter to a projection, in place of the one that is there. The adapter must
   * outlive the host or be detached first.
   *
   * @param path the projection, as in {@link LlamaModel#projectionPaths()}
   * @throws IllegalArgumentException if the model has no such projection or the host was made
   *     without room for an adapter of this rank there
   */
  void attach(String path, LowRank adapter);

  /** Detaches all adapters: the host computes the plain model again. */
  void detachAll();

  /** The weight of a projection; short for {@code model().weight(path)}. */
  default Weight weight(String path) {
    return model().weight(path);
  }
}
