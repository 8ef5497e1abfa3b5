package io.rora.model;

import io.rora.kernels.Activation;
import io.rora.kernels.Batch;
import io.rora.kernels.Layers;
import io.rora.kernels.RoraContext;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.function.ObjIntConsumer;

/**
 * Log likelihoods of alternative continuations. A prompt is computed once for all of them, and
 * several prompts at a time.
 */
public final class ContinuationScorer implements AutoCloseable {
  // Full speed of the kernels and little memory; longer questions make room for themselves.
  private static final int TOKENS = 512;
  private static final int ROWS = 2048;

  private final LlamaModel model;
  private final LlamaPass pass;
  private final KeyValueCache cache;
  private final Batch batch;
  private final FloatBuffer losses;
  private int filled;

  /** One question of the group at hand: where its first candidate's keys and values begin. */
  private record Placed(Continuations question, int begin) {}

  /** A scorer with room for each of the questions. */
  private ContinuationScorer(LlamaModel model, Adapters adapters, List<Continuations> questions) {
    this.model = model;
    int tokens = TOKENS;
    int rows = ROWS;
    for (Continuations question : questions) {
      checkLength(question, model.config().maxPositionEmbeddings());
      tokens = Math.max(tokens, Math.max(question.shared(), question.ownTokens()));
      rows = Math.max(rows, question.tokens());
    }
    RoraContext context = model.context();
    pass = LlamaPass.create(model, PassOptions.evaluation(tokens).withRanks(adapters.ranks()));
    adapters.attach(pass);
    cache = new KeyValueCache(model, 1, rows);
    batch = context.batch(tokens);
    losses =
        ByteBuffer.allocateDirect(tokens * Float.BYTES)
            .order(ByteOrder.nativeOrder())
            .asFloatBuffer();
  }

  private static void checkLength(Continuations question, int context) {
    for (int[] ids : question.candidates()) {
      if (ids.length > context) {
        throw new IllegalArgumentException(
            ids.length + " tokens do not fit in the model's context of " + context);
      }
    }
  }

  /**
   * Scores questions.
   *
   * @param consumer receives each question's scores, one per candidate, and its index, in order:
   *     the sum of log p over the tokens behind the prompt
   */
  public static void score(
      LlamaModel model,
      Adapters adapters,
      List<Continuations> questions,
      ObjIntConsumer<double[]> consumer) {
    if (questions.isEmpty()) {
      return;
    }
    try (ContinuationScorer scorer = new ContinuationScorer(model, adapters, questions)) {
      int done = 0;
      while (done < questions.size()) {
        int end = scorer.groupEnd(questions, done);
        List<double[]> scores = scorer.score(questions.subList(done, end));
        for (double[] score : scores) {
          consumer.accept(score, done++);
        }
      }
    }
  }

  /** As many questions from {@code from} on as fit at a time. */
  private int groupEnd(List<Continuations> questions, int from) {
    int shared = 0;
    int own = 0;
    int rows = 0;
    int end = from;
    while (end < questions.size()) {
      Continuations question = questions.get(end);
      shared += question.shared();
      own += question.ownTokens();
      rows += question.tokens();
      if (Math.max(shared, own) > batch.maxTokens() || rows > cache.positions()) {
        break;
      }
      end++;
    }
    return end;
  }

  private List<double[]> score(List<Continuations> group) {
    List<Placed> placed = place(group);
    computePrompts(placed);
    filled = 0;
    for (Placed question : placed) {
      int row = question.begin();
      for (int[] ids : question.question().candidates()) {
        put(ids, question.question().shared(), ids.length, question.question().promptTokens(), row);
        row += ids.length;
      }
    }
    batch.fill(filled);
    Activation hidden = pass.forward(batch, cache);
    Layers.crossEntropy(model.head(), batch, hidden, 1, losses, null);
    return sums(group);
  }

  private static List<Placed> place(List<Continuations> group) {
    List<Placed> placed = new ArrayList<>();
    int row = 0;
    for (Continuations question : group) {
      placed.add(new Placed(question, row));
      row += question.tokens();
    }
    return placed;
  }

  /** Fills in the keys and values of what the candidates share. */
  private void computePrompts(List<Placed> placed) {
    filled = 0;
    for (Placed question : placed) {
      int[] first = question.question().candidates().get(0);
      put(first, 0, question.question().shared(), first.length, question.begin());
    }
    if (filled == 0) {
      return;
    }
    batch.fill(filled);
    pass.forward(batch, cache);
    for (Placed question : placed) {
      int row = question.begin();
      for (int[] ids : question.question().candidates()) {
        cache.copyRows(question.begin(), row, question.question().shared());
        row += ids.length;
      }
    }
  }

  /** Adds tokens [from, to) of a document whose keys and values begin at {@code row}. */
  private void put(int[] ids, int from, int to, int promptTokens, int row) {
    for (int i = from; i < to; i++) {
      boolean predicted = i + 1 < ids.length && i + 1 >= promptTokens;
      batch.ids().put(filled, ids[i]);
      batch.labels().put(filled, predicted ? ids[i + 1] : DocumentPacker.NO_LABEL);
      batch.positions().put(filled, i);
      batch.begins().put(filled, row);
      batch.order().put(filled, filled);
      filled++;
    }
  }

  private List<double[]> sums(List<Continuations> group) {
    List<double[]> sums = new ArrayList<>();
    int token = 0;
    for (Continuations question : group) {
      double[] scores = new double[question.candidates().size()];
      for (int c = 0; c < scores.length; c++) {
        int end = token + question.candidates().get(c).length - question.shared();
        for (; token < end; token++) {
          scores[c] -= losses.get(token);
        }
      }
      sums.add(scores);
    }
    return sums;
  }

  @Override
  public void close() {
    pass.close();
    cache.close();
    batch.close();
  }
}
