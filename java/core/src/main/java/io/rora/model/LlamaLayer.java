package io.rora.model;

/** The weights of one decoder layer; shared by all passes. */
record LlamaLayer(
    ModelVector inputNorm,
    Projection query,
    Projection key,
    Projection value,
    Projection output,
    ModelVector postAttentionNorm,
    Projection gate,
    Projection up,
    Projection down) {

  /** Brings the masters that are being trained into the weights. */
  void refresh() {
    query.weight().refresh();
    key.weight().refresh();
    value.weight().refresh();
    output.weight().refresh();
    gate.weight().refresh();
    up.weight().refresh();
    down.weight().refresh();
  }
}
