package io.rora.data;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import org.junit.jupiter.api.Test;

class CounterRandomTest {
  @Test
  void wordsAreThoseOfPhilox() {
    // The first is Random123's known answer; the second was computed by a program that gives all
    // of Random123's.
    assertBlock(new CounterRandom(0, 0), 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8);
    assertBlock(
        new CounterRandom(0x299f31d0a4093822L, 0x0370734413198a2eL),
        0x05a308d3243f6a88L,
        0x2fe11a02,
        0x572a2f27,
        0x2f88763b,
        0x78d5e325);
  }

  private static void assertBlock(CounterRandom random, long block, int... words) {
    random.seek(4 * block);
    for (int word : words) {
      assertEquals(Integer.toHexString(word), Integer.toHexString(random.nextInt()));
    }
  }

  @Test
  void seekingGivesTheSameWordsAsGoingThere() {
    CounterRandom first = new CounterRandom(7, 3);
    for (int i = 0; i < 10; i++) {
      first.nextInt();
    }
    CounterRandom second = new CounterRandom(7, 3);
    second.seek(first.position());
    assertEquals(first.gaussian(), second.gaussian());
    assertEquals(first.position(), second.position());
  }

  @Test
  void drawsHaveTheirDistributions() {
    CounterRandom random = new CounterRandom(1, 2);
    int n = 100_000;
    double sum = 0;
    double squares = 0;
    double uniform = 0;
    int[] counts = new int[3];
    for (int i = 0; i < n; i++) {
      double z = random.gaussian();
      sum += z;
      squares += z * z;
      double u = random.uniform();
      assertTrue(u >= 0 && u < 1, "u = " + u);
      uniform += u;
      counts[random.below(3)]++;
    }
    // Five standard deviations of each mean.
    assertEquals(0, sum / n, 5 / Math.sqrt(n));
    assertEquals(1, squares / n, 5 * Math.sqrt(2.0 / n));
    assertEquals(0.5, uniform / n, 5 * Math.sqrt(1.0 / 12 / n));
    for (int count : counts) {
      assertEquals(1.0 / 3, (double) count / n, 5 * Math.sqrt(2.0 / 9 / n));
    }
  }

  @Test
  void wrongArgumentsAreRefused() {
    CounterRandom random = new CounterRandom(1, 2);
    assertThrows(IllegalArgumentException.class, () -> random.below(0));
    assertThrows(IllegalArgumentException.class, () -> random.seek(-1));
  }
}
