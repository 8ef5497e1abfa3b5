package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertEquals;

import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class LearningRateScheduleTest {
  @ParameterizedTest
  @CsvSource({
    "CONSTANT, 0, 10, 0, 2",
    "CONSTANT, 0, 10, 9, 2",
    "CONSTANT, 4, 10, 0, 0.5",
    "LINEAR, 0, 10, 0, 2",
    "LINEAR, 0, 10, 9, 0.2",
    "LINEAR, 2, 10, 1, 2",
    "LINEAR, 2, 10, 2, 2",
    "LINEAR, 2, 10, 6, 1",
    "COSINE, 2, 10, 2, 2",
    "COSINE, 2, 10, 6, 1",
    "COSINE, 0, 1, 0, 2",
    "LINEAR, 20, 10, 9, 1",
    "LINEAR, 10, 10, 9, 2"
  })
  void rateFollowsTheFormula(Schedule schedule, int warmup, int steps, int t, double expected) {
    assertEquals(expected, new LearningRateSchedule(2, schedule, warmup, steps).at(t), 1e-12);
  }
}
