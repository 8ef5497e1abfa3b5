package io.rora.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.util.Arrays;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;

class RowOrderTest {
  private static final int ROWS = 101;

  private static int[] epoch(RowOrder order, int epoch) {
    return IntStream.range(0, ROWS).map(i -> order.row((long) epoch * ROWS + i)).toArray();
  }

  @Test
  void everyEpochIsAnotherPermutation() {
    RowOrder order = new RowOrder(ROWS, 42, true);
    int[] first = epoch(order, 0);
    int[] second = epoch(order, 1);
    assertFalse(Arrays.equals(first, second));
    for (int[] permutation : new int[][] {first, second}) {
      int[] sorted = permutation.clone();
      Arrays.sort(sorted);
      assertArrayEquals(IntStream.range(0, ROWS).toArray(), sorted);
    }
    assertArrayEquals(first, epoch(order, 0), "going back gives the same");
  }

  @Test
  void aPositionIsAFunctionOfTheSeed() {
    int[] same = epoch(new RowOrder(ROWS, 42, true), 3);
    assertArrayEquals(same, epoch(new RowOrder(ROWS, 42, true), 3));
    assertFalse(Arrays.equals(same, epoch(new RowOrder(ROWS, 43, true), 3)));
  }

  @Test
  void shuffleIsFisherAndYatesOverTheDocumentedWords() {
    CounterRandom random = new CounterRandom(42, 2);
    int[] expected = IntStream.range(0, ROWS).toArray();
    for (int i = ROWS - 1; i > 0; i--) {
      int j = random.below(i + 1);
      int kept = expected[i];
      expected[i] = expected[j];
      expected[j] = kept;
    }
    assertArrayEquals(expected, epoch(new RowOrder(ROWS, 42, true), 2));
  }

  @Test
  void withoutShufflingTheFilesOrderRepeats() {
    RowOrder order = new RowOrder(3, 42, false);
    int[] rows = IntStream.range(0, 7).map(order::row).toArray();
    assertArrayEquals(new int[] {0, 1, 2, 0, 1, 2, 0}, rows);
    assertEquals(2, order.row(3_000_000_000L * 3 + 2));
  }

  @Test
  void wrongArgumentsAreRefused() {
    assertThrows(IllegalArgumentException.class, () -> new RowOrder(0, 1, true));
    assertThrows(IllegalArgumentException.class, () -> new RowOrder(1, 1, true).row(-1));
  }
}
