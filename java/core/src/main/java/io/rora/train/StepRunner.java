package io.rora.train;

import io.rora.data.RowOrder;
import io.rora.kernels.Batch;
import io.rora.model.LlamaPass;

/**
 * One optimiser step: rows, micro batches, forward and backward passes, clipping and the update.
 * Makes no Java object.
 */
final class StepRunner {
  private final TrainOptions options;
  private final RowOrder order;
  private final BatchPacker packer;
  private final Batch batch;
  private final LlamaPass pass;
  private final Optimizer optimizer;
  private final LearningRateSchedule schedule;
  private final int[] rows;
  private double loss;
  private double gradNorm;
  private long tokens;
  private long supervised;

  StepRunner(
      TrainOptions options,
      TokenRows data,
      MicroBatch micro,
      Batch batch,
      LlamaPass pass,
      Optimizer optimizer,
      LearningRateSchedule schedule) {
    this.options = options;
    this.order = new RowOrder(data.rows(), options.seed(), options.shuffle());
    this.packer = new BatchPacker(data, micro.rows(), micro.maxTokens());
    this.batch = batch;
    this.pass = pass;
    this.optimizer = optimizer;
    this.schedule = schedule;
    this.rows = new int[options.batchSize()];
  }

  /**
   * Takes step t, from 0. If the loss or the gradient is not finite, nothing is updated.
   *
   * @return whether they are finite
   */
  boolean run(int t) {
    for (int i = 0; i < rows.length; i++) {
      rows[i] = order.row((long) t * rows.length + i);
    }
    packer.begin(rows, rows.length);
    tokens = packer.batchTokens();
    supervised = packer.batchSupervised();
    double divisor = Math.max(1, supervised);
    pass.setDropout((float) options.dropout(), options.seed(), t);
    double sum = 0;
    while (packer.next(batch)) {
      if (packer.supervised() > 0) { // without, loss and gradients are zero
        sum += pass.forwardLoss(batch, divisor);
        if (!Double.isFinite(sum)) {
          loss = sum;
          return false;
        }
        pass.backward(batch);
      }
    }
    loss = sum / divisor;
    gradNorm = optimizer.gradientNorm();
    if (!Double.isFinite(gradNorm)) {
      return false;
    }
    optimizer.update(t + 1, schedule.at(t), gradNorm);
    return true;
  }

  /** The rows of the last step's batch. */
  int[] rows() {
    return rows;
  }

  double loss() {
    return loss;
  }

  double gradNorm() {
    return gradNorm;
  }

  long tokens() {
    return tokens;
  }

  long supervised() {
    return supervised;
  }
}
