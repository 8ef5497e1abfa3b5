package io.rora.train;

import io.rora.kernels.Batch;
import io.rora.model.LlamaPass;

/** The mean cross entropy of a data set's supervised tokens. */
final class LossEvaluator {
  private final BatchPacker packer;
  private final int[] rows;

  LossEvaluator(TokenRows data, MicroBatch micro) {
    this.packer = new BatchPacker(data, micro.rows(), micro.maxTokens());
    this.rows = new int[data.rows()];
    for (int i = 0; i < rows.length; i++) {
      rows[i] = i;
    }
  }

  double loss(LlamaPass pass, Batch batch) {
    packer.begin(rows, rows.length);
    double sum = 0;
    while (packer.next(batch)) {
      if (packer.supervised() > 0) {
        sum += pass.loss(batch, null);
      }
    }
    return sum / Math.max(1, packer.batchSupervised());
  }
}
