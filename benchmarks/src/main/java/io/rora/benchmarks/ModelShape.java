package io.rora.benchmarks;

import io.rora.config.ModelConfig;
import io.rora.config.RopeConfig;
import java.util.Collections;
import java.util.List;
import java.util.OptionalInt;

/** The sizes of models whose operators and steps are measured. */
public enum ModelShape {
  /** The smallest step of the ladder of parameters; no model of anybody's, as the next two. */
  TINY_1M(128, 384, 4, 2, 32, 2048, 4),
  /** About ten million parameters. */
  TINY_10M(256, 768, 4, 2, 64, 8192, 10),
  /** About forty million parameters. */
  TINY_40M(384, 1152, 6, 2, 64, 32768, 16),
  /** HuggingFaceTB/SmolLM2-135M. */
  SMOLLM2_135M(576, 1536, 9, 3, 64, 49152, 30),
  /** HuggingFaceTB/SmolLM2-360M. */
  SMOLLM2_360M(960, 2560, 15, 5, 64, 49152, 32),
  /** meta-llama/Llama-3.2-1B. */
  LLAMA32_1B(2048, 8192, 32, 8, 64, 128256, 16),
  /** The first LLaMA of seven billion parameters. */
  LLAMA_7B(4096, 11008, 32, 32, 128, 32000, 32),
  /** meta-llama/Meta-Llama-3-8B. */
  LLAMA3_8B(4096, 14336, 32, 8, 128, 128256, 32);

  final int hidden;
  final int intermediate;
  final int heads;
  final int kvHeads;
  final int headDim;
  final int vocabulary;
  final int layers;

  ModelShape(
      int hidden,
      int intermediate,
      int heads,
      int kvHeads,
      int headDim,
      int vocabulary,
      int layers) {
    this.hidden = hidden;
    this.intermediate = intermediate;
    this.heads = heads;
    this.kvHeads = kvHeads;
    this.headDim = headDim;
    this.vocabulary = vocabulary;
    this.layers = layers;
  }

  /** The parameters of a model of so many of the layers, the head tied to the embedding. */
  long parameters(int ofLayers) {
    long attention = 2L * hidden * headDim * (heads + kvHeads);
    return (long) vocabulary * hidden
        + ofLayers * (attention + 3L * hidden * intermediate + 2L * hidden)
        + hidden;
  }

  /** The configuration with so many of the layers. */
  ModelConfig config(int ofLayers) {
    return new ModelConfig(
        ModelConfig.Architecture.LLAMA,
        vocabulary,
        hidden,
        headDim,
        Collections.nCopies(ofLayers, intermediate),
        Collections.nCopies(ofLayers, heads),
        Collections.nCopies(ofLayers, kvHeads),
        false,
        false,
        true,
        RopeConfig.of(10000),
        1e-5f,
        4096,
        OptionalInt.empty(),
        List.of(),
        OptionalInt.empty());
  }
}
