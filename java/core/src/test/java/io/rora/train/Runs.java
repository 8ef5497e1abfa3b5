package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;

import io.rora.adapter.SavedAdapter;
import io.rora.config.StrictJson;
import io.rora.kernels.DataType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Small runs on a golden case's model, and what tests look at afterwards. */
final class Runs {
  private Runs() {}

  /** Six shuffled steps with evaluation, dropout and a checkpoint every second step. */
  static TrainOptions.Builder small(Path out) throws IOException {
    return plain(out).evalData(Golden.load("rora-cut-off").rows()).evalSteps(3);
  }

  /** The same without evaluation. */
  static TrainOptions.Builder plain(Path out) throws IOException {
    Golden golden = Golden.load("rora-cut-off");
    return TrainOptions.builder()
        .model(golden.model())
        .data(golden.rows())
        .out(out)
        .method(Method.DORA)
        .rank(3)
        .alpha(6)
        .dropout(0.1)
        .learningRate(5e-3)
        .batchSize(3)
        .maxSteps(6)
        .warmupSteps(2)
        .cutoffLen(96)
        .dtype(DataType.F32)
        .threads(1)
        .saveSteps(2);
  }

  static TrainResult run(TrainOptions.Builder options) throws IOException {
    return Trainer.run(options.build(), TrainListener.none());
  }

  /** Cancels after a step. */
  static TrainListener cancelAfter(int step) {
    return new TrainListener() {
      private int done;

      @Override
      public void onStep(StepMetrics metrics) {
        done = metrics.step();
      }

      @Override
      public boolean isCancelled() {
        return done == step;
      }
    };
  }

  /** The lines of metrics.jsonl without what the clock and the machine decide. */
  static List<String> metrics(Path run) throws IOException {
    List<String> lines = new ArrayList<>();
    for (String line : Files.readAllLines(run.resolve("metrics.jsonl"))) {
      StrictJson json = StrictJson.parse("metrics.jsonl", line);
      json.node().remove(List.of("seconds", "tokens_per_second", "rss_mib"));
      lines.add(json.node().toString());
    }
    return lines;
  }

  static byte[] tensors(Path adapter) throws IOException {
    return Files.readAllBytes(adapter.resolve(SavedAdapter.TENSORS));
  }

  /** The results, best results, last checkpoints and metrics of two runs are the same bits. */
  static void assertSame(Path expected, Path actual, int lastStep) throws IOException {
    for (String folder : new String[] {"", "best", "checkpoints/step-" + lastStep}) {
      Path of = expected.resolve(folder);
      try (var files = Files.list(of)) {
        for (Path file : (Iterable<Path>) files.filter(Files::isRegularFile)::iterator) {
          String name = file.getFileName().toString();
          if (!name.equals("run.json") && !name.equals("metrics.jsonl")) {
            assertArrayEquals(
                Files.readAllBytes(file),
                Files.readAllBytes(actual.resolve(folder).resolve(name)),
                folder + "/" + name);
          }
        }
      }
    }
    assertEquals(metrics(expected), metrics(actual));
  }
}
