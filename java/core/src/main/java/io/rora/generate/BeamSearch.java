package io.rora.generate;

import io.rora.model.LlamaDecoder;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * Beam search as transformers 5 does it with {@code num_beams}, length penalty 1, no early stopping
 * and no sampling. Finished sequences are ranked by their log probability over their length, end
 * token included; the search ends when the best running one could not join them at its present
 * length.
 */
public final class BeamSearch {
  // Stands for minus infinity, as in transformers.
  private static final float NEVER = -1e9f;

  private final LlamaDecoder decoder;
  private final int beams;
  private final Set<Integer> stopIds;
  private final float[][] logits;
  private int promptTokens;
  private List<Beam> running;
  private List<Finished> finished;

  /** A sequence that goes on: its tokens so far, their log probability, its place in the cache. */
  private record Beam(List<Integer> ids, float score, int slot) {}

  /** A sequence that has ended; empty where there is none yet. */
  private record Finished(List<Integer> ids, float score) {}

  /** A running beam (its index) and a token to follow it. */
  private record Continuation(int beam, int id, float score) {}

  /**
   * @param decoder with room for {@code beams} sequences
   * @param stopIds tokens that end a sequence
   */
  public BeamSearch(LlamaDecoder decoder, int beams, Set<Integer> stopIds) {
    if (beams < 1 || beams > decoder.sequences()) {
      throw new IllegalArgumentException(
          beams + " beams: the decoder has room for 1 to " + decoder.sequences());
    }
    this.decoder = decoder;
    this.beams = beams;
    this.stopIds = Set.copyOf(stopIds);
    this.logits = new float[beams][decoder.model().config().vocabSize()];
  }

  /**
   * The best continuation of a prompt.
   *
   * @param maxNewTokens most tokens of it
   * @return its tokens, the end token left out
   */
  public List<Integer> search(int[] promptIds, int maxNewTokens) {
    int room = Math.min(maxNewTokens, decoder.positions() - promptIds.length);
    if (room < 1) {
      return List.of();
    }
    begin(promptIds);
    for (int length = 1; advance(length, room); length++) {
      step();
    }
    List<Integer> ids = finished.get(0).ids();
    boolean ended = stopIds.contains(ids.get(ids.size() - 1));
    return ended ? ids.subList(0, ids.size() - 1) : ids;
  }

  private void begin(int[] promptIds) {
    promptTokens = promptIds.length;
    running = new ArrayList<>();
    finished = new ArrayList<>();
    for (int slot = 0; slot < beams; slot++) {
      decoder.truncate(slot, 0);
    }
    decoder.prompt(0, promptIds, logits[0]);
    for (int slot = 0; slot < beams; slot++) {
      decoder.copy(0, slot, 0);
      System.arraycopy(logits[0], 0, logits[slot], 0, logits[0].length);
      // All but the first would give the same continuations again.
      running.add(new Beam(List.of(), slot == 0 ? 0 : NEVER, slot));
      finished.add(new Finished(List.of(), NEVER));
    }
  }

  /**
   * Chooses the continuations of the running beams that make sequences of {@code length} tokens.
   *
   * @return whether the search goes on
   */
  private boolean advance(int length, int maxLength) {
    List<Continuation> best = bestContinuations();
    boolean last = length == maxLength;
    finish(best, length, last);
    boolean allEnded = best.stream().allMatch(next -> last || stopIds.contains(next.id()));
    if (allEnded) {
      return false;
    }
    continueWith(best);
    boolean full = finished.stream().noneMatch(done -> done.ids().isEmpty());
    return !full || running.get(0).score() / length > finished.get(beams - 1).score();
  }

  /**
   * The best continuations of all beams, enough of them to go on if every end token is among them.
   */
  private List<Continuation> bestContinuations() {
    int count = Math.max(2, 1 + stopIds.size()) * beams;
    List<Continuation> best = new ArrayList<>(count + 1);
    for (int beam = 0; beam < running.size(); beam++) {
      float[] row = logits[beam];
      Logits.logSoftmax(row);
      for (int id = 0; id < row.length; id++) {
        float score = row[id] + running.get(beam).score();
        if (best.size() < count || score > best.get(best.size() - 1).score()) {
          insert(best, new Continuation(beam, id, score), count);
        }
      }
    }
    return best;
  }

  private static void insert(List<Continuation> best, Continuation next, int count) {
    int place = best.size();
    while (place > 0 && next.score() > best.get(place - 1).score()) {
      place--;
    }
    best.add(place, next);
    if (best.size() > count) {
      best.remove(count);
    }
  }

  /** Ranks those of the first continuations that end among the finished sequences. */
  private void finish(List<Continuation> best, int length, boolean last) {
    for (int i = 0; i < Math.min(beams, best.size()); i++) {
      Continuation next = best.get(i);
      if (last || stopIds.contains(next.id())) {
        add(new Finished(extended(next), next.score() / length));
      }
    }
  }

  private void add(Finished done) {
    int place = beams;
    while (place > 0 && done.score() > finished.get(place - 1).score()) {
      place--;
    }
    finished.add(place, done);
    finished.remove(beams);
  }

  private List<Integer> extended(Continuation next) {
    List<Integer> ids = new ArrayList<>(running.get(next.beam()).ids());
    ids.add(next.id());
    return ids;
  }

  /**
   * Makes the best continuations that do not end the running beams, each with a slot of its own.
   */
  private void continueWith(List<Continuation> best) {
    List<Continuation> chosen =
        best.stream().filter(next -> !stopIds.contains(next.id())).limit(beams).toList();
    boolean[] taken = new boolean[beams];
    int[] slots = new int[chosen.size()];
    // The first child of a beam stays in its place; the places of childless beams take the others.
    for (int i = 0; i < slots.length; i++) {
      int slot = running.get(chosen.get(i).beam()).slot();
      slots[i] = taken[slot] ? -1 : slot;
      taken[slot] = true;
    }
    List<Beam> next = new ArrayList<>();
    for (int i = 0; i < slots.length; i++) {
      Continuation continuation = chosen.get(i);
      if (slots[i] < 0) {
        slots[i] = firstFree(taken);
        taken[slots[i]] = true;
        decoder.copy(running.get(continuation.beam()).slot(), slots[i], promptTokens);
      }
      next.add(new Beam(extended(continuation), continuation.score(), slots[i]));
    }
    running = next;
  }

  private static int firstFree(boolean[] taken) {
    int slot = 0;
    while (taken[slot]) {
      slot++;
    }
    return slot;
  }

  /** Feeds the last token of every running beam. */
  private void step() {
    int[] slots = new int[running.size()];
    int[] ids = new int[slots.length];
    for (int i = 0; i < slots.length; i++) {
      Beam beam = running.get(i);
      slots[i] = beam.slot();
      ids[i] = beam.ids().get(beam.ids().size() - 1);
    }
    decoder.step(slots.length, slots, ids, logits);
  }
}
