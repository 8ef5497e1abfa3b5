package io.rora.train;

import io.rora.data.DataSet;
import io.rora.data.PromptTemplate;
import io.rora.data.RowReader;
import io.rora.data.SequenceBuilder;
import io.rora.tokenizer.Tokenizer;
import java.io.IOException;
import java.util.List;

/**
 * The rows of a run as token sequences. The texts themselves are let go.
 *
 * @param template how rows became text
 * @param rows what is trained on
 * @param files where they came from
 * @param evalRows what is evaluated on; null for nothing
 * @param evalFiles where those came from
 */
record TrainingData(
    PromptTemplate template,
    TokenRows rows,
    List<DataSet.DataFile> files,
    TokenRows evalRows,
    List<DataSet.DataFile> evalFiles) {
  static TrainingData read(TrainOptions options) throws IOException {
    DataSet data = RowReader.read(options.data());
    PromptTemplate template =
        options.promptTemplate().orElseGet(() -> PromptTemplate.defaultFor(data.kind()));
    try (Tokenizer tokenizer = Tokenizer.open(options.model())) {
      SequenceBuilder builder =
          new SequenceBuilder(tokenizer, template, options.cutoffLen(), options.trainOnInputs());
      TokenRows rows = TokenRows.of(builder.build(data));
      if (options.evalData().isEmpty()) {
        return new TrainingData(template, rows, data.files(), null, List.of());
      }
      DataSet eval = RowReader.read(options.evalData());
      TokenRows evalRows = TokenRows.of(builder.build(eval));
      if (supervised(evalRows) == 0) {
        throw new TrainingException(
            "--eval-data has no token to be predicted within --cutoff-len "
                + options.cutoffLen()
                + ": raise it, or evaluate on other rows");
      }
      return new TrainingData(template, rows, data.files(), evalRows, eval.files());
    }
  }

  private static long supervised(TokenRows rows) {
    long tokens = 0;
    for (int row = 0; row < rows.rows(); row++) {
      tokens += rows.supervisedTokens(row);
    }
    return tokens;
  }

  /** The longest sequence. */
  int longest() {
    return Math.max(rows.longest(), evalRows == null ? 0 : evalRows.longest());
  }

  /** Bytes that the sequences take. */
  long bytes() {
    return rows.bytes() + (evalRows == null ? 0 : evalRows.bytes());
  }

  /** Names rows as users count them: files and row numbers from 1. */
  String names(int[] batch) {
    StringBuilder names = new StringBuilder();
    String file = "";
    for (int row : batch) {
      int number = row;
      int index = 0;
      while (number >= files.get(index).rows()) {
        number -= files.get(index++).rows();
      }
      String name = files.get(index).path().toString();
      if (!name.equals(file)) {
        names.append(names.isEmpty() ? "" : "; ").append(name).append(" rows ");
        file = name;
      } else {
        names.append(", ");
      }
      names.append(number + 1);
    }
    return names.toString();
  }
}
