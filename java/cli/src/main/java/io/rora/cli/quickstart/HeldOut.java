package io.rora.cli.quickstart;

import io.rora.cli.LoadedModel;
import io.rora.data.DataSet;
import io.rora.data.RowReader;
import io.rora.evaluate.EvaluationListener;
import io.rora.evaluate.Evaluator;
import io.rora.kernels.DataType;
import io.rora.model.LoadListener;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;

/** The held-out questions, asked of the base alone or with an adapter attached to it. */
final class HeldOut implements AutoCloseable {
  private final LoadedModel base;
  private final DataSet questions;

  private HeldOut(LoadedModel base, DataSet questions) {
    this.base = base;
    this.questions = questions;
  }

  /** Loads the base once, for all adapters. */
  static HeldOut open(Path base, Path rows, int threads) throws IOException {
    DataSet questions = RowReader.read(List.of(rows));
    return new HeldOut(
        LoadedModel.open(base, DataType.BF16, "cpu", threads, LoadListener.none()), questions);
  }

  /**
   * The share of questions answered rightly, in {@code cloze} form.
   *
   * @param adapter null for the base alone
   */
  double accuracy(Path adapter) throws IOException {
    try (LoadedModel.OpenAdapter open = base.adapter(adapter)) {
      return new Evaluator(base.model(), base.tokenizer(), open.adapters())
          .cloze(questions, EvaluationListener.none())
          .accuracy();
    }
  }

  @Override
  public void close() {
    base.close();
  }
}
