package io.rora.adapter;

/**
 * What an adapter does to one projection: W + gamma B A.
 *
 * @param path the projection, such as {@code model.layers.0.self_attn.q_proj}
 * @param outFeatures rows of W and of lora_B
 * @param inFeatures columns of W and of lora_A
 * @param rank rows of lora_A and columns of lora_B
 * @param alpha the numerator of gamma
 * @param gamma alpha / rank for LoRA, alpha / sqrt(rank) for RoRA (arXiv:2501.04315)
 */
public record AdapterModule(
    String path, int outFeatures, int inFeatures, int rank, double alpha, double gamma) {
  private static final String PREFIX = "base_model.model.";

  /** The name of lora_A [rank, in_features] in an adapter file. */
  public String loraAName() {
    return PREFIX + path + ".lora_A.weight";
  }

  /** The name of lora_B [out_features, rank] in an adapter file. */
  public String loraBName() {
    return PREFIX + path + ".lora_B.weight";
  }

  /** The name of DoRA's magnitudes [out_features] in an adapter file. */
  public String magnitudeName() {
    return PREFIX + path + ".lora_magnitude_vector";
  }

  /** The number of trained values. */
  public long parameters(boolean dora) {
    return (long) rank * (inFeatures + (long) outFeatures) + (dora ? outFeatures : 0);
  }
}
