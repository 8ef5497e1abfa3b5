package io.rora.kernels;

import io.rora.kernels.bindings.rora_adamw_step;
import org.bytedeco.javacpp.Pointer;

/**
 * What one AdamW update needs besides its tensors. Made once and changed from step to step: setting
 * a value allocates nothing. Starts with torch.optim.AdamW's betas and epsilon, no decay, learning
 * rate 0, gradient scale 1 and step 1. It belongs to no context.
 */
public final class AdamwStep {
  // On a direct buffer, which JavaCPP keeps alive and does not count against its own limits.
  private final rora_adamw_step struct =
      new rora_adamw_step(new Pointer(Staging.direct(7 * Double.BYTES)));

  /** Makes a step with the default values. */
  public AdamwStep() {
    beta1(0.9);
    beta2(0.999);
    epsilon(1e-8);
    gradientScale(1);
    step(1);
  }

  /** Sets the learning rate. */
  public void learningRate(double value) {
    struct.learning_rate(value);
  }

  /** Sets the decay of the first moments. */
  public void beta1(double value) {
    struct.beta1(value);
  }

  /** Sets the decay of the second moments. */
  public void beta2(double value) {
    struct.beta2(value);
  }

  /** Sets what is added to the root of the second moments. */
  public void epsilon(double value) {
    struct.epsilon(value);
  }

  /** Sets the decoupled decay: values are first multiplied by {@code 1 - learningRate * value}. */
  public void weightDecay(double value) {
    struct.weight_decay(value);
  }

  /** Sets what gradients are multiplied by first: the factor of clipping. */
  public void gradientScale(double value) {
    struct.gradient_scale(value);
  }

  /** Sets the number of this step, from 1 on, for the bias correction. */
  public void step(long value) {
    struct.step(value);
  }

  rora_adamw_step struct() {
    return struct;
  }
}
