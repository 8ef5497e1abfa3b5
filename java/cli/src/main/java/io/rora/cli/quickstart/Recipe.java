package io.rora.cli.quickstart;

import java.util.List;

/**
 * How the quickstart fine-tunes; everything else has the defaults of {@code rora train}.
 *
 * @param methods {@code lora} and {@code rora}, in the table's order
 * @param ranks of the runs
 * @param alpha the same in all runs
 * @param learningRate highest, falling along a line
 * @param steps of each run
 * @param batchSize rows of a step
 * @param shuffledAnswers train on answers drawn at random, to see that nothing is learnt then
 * @param threads 0 for all cores
 */
record Recipe(
    List<String> methods,
    List<Integer> ranks,
    double alpha,
    double learningRate,
    int steps,
    int batchSize,
    boolean shuffledAnswers,
    int threads) {
  Recipe {
    methods = List.copyOf(methods);
    ranks = List.copyOf(ranks);
  }

  /** What {@code rora quickstart} does. */
  static Recipe standard(int threads) {
    return new Recipe(
        List.of("lora", "rora"), List.of(4, 16, 64), 16, 3e-3, 120, 32, false, threads);
  }
}
