package io.rora.train;

import io.rora.kernels.AdamwStep;
import io.rora.kernels.FloatArray;
import io.rora.kernels.RoraContext;

/**
 * AdamW over all trained values, with clipping by the norm of all gradients and LoRA+'s faster rate
 * behind the split. Updates allocate nothing.
 */
final class Optimizer implements AutoCloseable {
  private static final double NORM_EPSILON = 1e-6;

  private final RoraContext context;
  private final TrainedParameters parameters;
  private final FloatArray firstMoments;
  private final FloatArray secondMoments;
  private final double ratio;
  private final double maxGradNorm;
  private final AdamwStep step = new AdamwStep();
  private final Range all;
  private final Range slow;
  private final Range fast;

  /** The same part of all four arenas. */
  private record Range(FloatArray values, FloatArray gradients, FloatArray m, FloatArray v) {}

  Optimizer(RoraContext context, TrainedParameters parameters, TrainOptions options) {
    this.context = context;
    this.parameters = parameters;
    long length = parameters.values().length();
    firstMoments = context.floats(length);
    secondMoments = context.floats(length);
    ratio = options.loraPlusRatio();
    maxGradNorm = options.maxGradNorm();
    step.weightDecay(options.weightDecay());
    all = new Range(parameters.values(), parameters.gradients(), firstMoments, secondMoments);
    slow = range(0, parameters.split());
    fast = range(parameters.split(), length - parameters.split());
  }

  private Range range(long offset, long count) {
    return new Range(
        parameters.values().slice(offset, count),
        parameters.gradients().slice(offset, count),
        firstMoments.slice(offset, count),
        secondMoments.slice(offset, count));
  }

  FloatArray firstMoments() {
    return firstMoments;
  }

  FloatArray secondMoments() {
    return secondMoments;
  }

  /** The norm of all gradients. */
  double gradientNorm() {
    return Math.sqrt(context.sumOfSquares(parameters.gradients()));
  }

  /**
   * Updates the values and sets the gradients to zero.
   *
   * @param number of the step, from 1
   * @param norm what {@link #gradientNorm} gave
   */
  void update(int number, double learningRate, double norm) {
    double clip = maxGradNorm == 0 ? 1 : Math.min(1, maxGradNorm / (norm + NORM_EPSILON));
    step.step(number);
    step.gradientScale(clip);
    if (ratio == 1) {
      update(all, learningRate);
    } else {
      update(slow, learningRate);
      update(fast, learningRate * ratio);
    }
    parameters.refresh();
  }

  private void update(Range range, double learningRate) {
    step.learningRate(learningRate);
    context.adamw(step, range.values, range.gradients, range.m, range.v);
  }

  @Override
  public void close() {
    firstMoments.close();
    secondMoments.close();
  }
}
