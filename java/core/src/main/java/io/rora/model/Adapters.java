package io.rora.model;

import java.util.Map;

/** A set of adapters that can join anything that computes with their model. */
public interface Adapters {
  /** The rank of each adapter by the path of its projection: the room that a host must have. */
  Map<String, Integer> ranks();

  /** Attaches all of them to a host. */
  void attach(AdapterHost host);

  /** No adapters: the plain model. */
  static Adapters none() {
    return new Adapters() {
      @Override
      public Map<String, Integer> ranks() {
        return Map.of();
      }

      @Override
      public void attach(AdapterHost host) {}
    };
  }
}
