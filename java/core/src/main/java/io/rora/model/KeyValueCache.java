package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.kernels.Activation;
import io.rora.kernels.DataType;

/**
 * Keys and values of the tokens that several sequences have seen so far. Sequence s owns rows [s *
 * positions, (s + 1) * positions) of each layer's [rows, keys | values].
 */
final class KeyValueCache implements AutoCloseable {
  private final Activation[] layers;
  private final int positions;
  private final int[] lengths;

  /**
   * @param sequences how many
   * @param positions most tokens of each
   */
  KeyValueCache(LlamaModel model, int sequences, int positions) {
    ModelConfig config = model.config();
    this.positions = positions;
    this.lengths = new int[sequences];
    this.layers = new Activation[config.layers()];
    int rows = Math.multiplyExact(sequences, positions);
    for (int l = 0; l < layers.length; l++) {
      layers[l] = model.context().activation(model.dataType(), rows, width(config, l), 0);
      layers[l].resize(rows);
    }
  }

  private static long width(ModelConfig config, int layer) {
    return 2L * config.kvHeads(layer) * config.headDim(); // a head is even
  }

  static long bytes(ModelConfig config, DataType type, int sequences, int positions) {
    long bytes = 0;
    for (int l = 0; l < config.layers(); l++) {
      bytes += Activation.bytes(type, (long) sequences * positions, width(config, l), 0);
    }
    return bytes;
  }

  Activation layer(int index) {
    return layers[index];
  }

  int sequences() {
    return lengths.length;
  }

  int positions() {
    return positions;
  }

  /** Tokens that the sequence has seen. */
  int length(int sequence) {
    return lengths[sequence];
  }

  void setLength(int sequence, int length) {
    lengths[sequence] = length;
  }

  /** The first row of the sequence. */
  int begin(int sequence) {
    return sequence * positions;
  }

  /**
   * Makes {@code target} see what {@code source} saw; its first {@code shared} tokens do already.
   */
  void copy(int source, int target, int shared) {
    copyRows(begin(source) + shared, begin(target) + shared, lengths[source] - shared);
    lengths[target] = lengths[source];
  }

  /** Copies rows of all layers; the ranges are the same or do not overlap. */
  void copyRows(int source, int target, int count) {
    if (count <= 0 || source == target) {
      return;
    }
    for (Activation layer : layers) {
      layer.copyTokens(source, layer, target, count);
    }
  }

  @Override
  public void close() {
    for (Activation layer : layers) {
      layer.close();
    }
  }
}
