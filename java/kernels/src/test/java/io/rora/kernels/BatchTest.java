package io.rora.kernels;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import org.junit.jupiter.api.Test;

class BatchTest {
  @Test
  void fillReadsFromTheFrontWhereverTheCallersPositionStands() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      Weight table = context.weight(DataType.F32, 3, 1);
      table.write(0, 3, DataType.F32, LinearSample.direct(new float[] {10, 11, 12}));
      Batch batch = context.batch(4);
      batch.ids().put(0, 2).put(1, 0);
      batch.ids().position(3).limit(3);
      batch.fill(2);
      assertEquals(2, batch.tokens());
      Activation y = context.activation(DataType.F32, 4, 1, 0);
      Layers.embeddingForward(table, batch, y);
      float[] found = new float[2];
      y.read(0, 2, 0, 1, found);
      assertArrayEquals(new float[] {12, 10}, found);
    }
  }

  @Test
  void tokensBeyondTheCapacityAreRefused() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      Batch batch = context.batch(4);
      assertThrows(IllegalArgumentException.class, () -> batch.fill(5));
      assertThrows(IllegalArgumentException.class, () -> batch.fill(-1));
      assertThrows(IllegalArgumentException.class, () -> context.batch(-1));
      batch.fill(0);
      assertEquals(0, batch.tokens());
    }
  }

  @Test
  void negativeIdsAreRefusedAndTheOldTokensStay() {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      Batch batch = context.batch(4);
      batch.fill(3);
      batch.ids().put(1, -7);
      RoraException refusal = assertThrows(RoraException.class, () -> batch.fill(4));
      assertEquals(true, refusal.getMessage().contains("-7"), refusal.getMessage());
      assertEquals(3, batch.tokens());
    }
  }
}
