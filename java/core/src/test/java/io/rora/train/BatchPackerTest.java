package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.rora.kernels.Batch;
import io.rora.kernels.RoraContext;
import java.io.IOException;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class BatchPackerTest {
  @TempDir Path temporary;

  @Test
  void packersCutWithoutLosingOrRepeatingATokenOrARow() throws IOException {
    TrainOptions options = Runs.plain(temporary.resolve("unused")).build();
    TrainingData data = TrainingData.read(options);
    try (RoraContext context = RoraContext.open("cpu", 1);
        Batch batch = context.batch(200)) {
      for (int rowsAtOnce : new int[] {1, 2, 7}) {
        assertCut(data.rows(), new BatchPacker(data.rows(), rowsAtOnce, 200), batch);
      }
    }
  }

  private static void assertCut(TokenRows rows, BatchPacker packer, Batch batch) {
    int[] order = {3, 0, 22, 7, 7};
    packer.begin(order, order.length);
    int number = 0;
    int next = 0;
    while (packer.next(batch)) {
      for (int at = 0; at < batch.tokens(); next++) {
        int row = order[next];
        int begin = at;
        for (int i = 0; i < rows.length(row); i++, at++) {
          assertEquals(rows.id(row, i), batch.ids().get(at));
          assertEquals(i, batch.positions().get(at));
          assertEquals(begin, batch.begins().get(at));
          assertEquals(number++, batch.order().get(at));
          boolean labelled = i + 1 < rows.length(row) && rows.supervised(row, i + 1);
          assertEquals(labelled ? rows.id(row, i + 1) : -100, batch.labels().get(at));
        }
      }
    }
    assertEquals(order.length, next);
    assertEquals(packer.batchTokens(), number);
  }
}
