package io.rora.generate;

import io.rora.model.LlamaDecoder;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.function.ObjIntConsumer;

/** The most likely continuations of many prompts, as many at a time as a decoder has room for. */
public final class GreedySearch {
  private final LlamaDecoder decoder;
  private final Set<Integer> stopIds;
  private final int maxNewTokens;
  private final float[][] logits;
  private final List<Running> running = new ArrayList<>();

  /** A prompt that is being continued: its index, its place in the decoder, its tokens so far. */
  private record Running(int index, int slot, List<Integer> ids) {}

  /**
   * @param stopIds tokens that end a sequence
   * @param maxNewTokens most tokens of one
   */
  public GreedySearch(LlamaDecoder decoder, Set<Integer> stopIds, int maxNewTokens) {
    this.decoder = decoder;
    this.stopIds = Set.copyOf(stopIds);
    this.maxNewTokens = maxNewTokens;
    this.logits = new float[decoder.sequences()][decoder.model().config().vocabSize()];
  }

  /**
   * Continues prompts.
   *
   * @param consumer receives each continuation, the end token left out, and the prompt's index, in
   *     the order in which they end
   */
  public void search(List<int[]> prompts, ObjIntConsumer<List<Integer>> consumer) {
    List<Integer> free = new ArrayList<>();
    for (int slot = 0; slot < decoder.sequences(); slot++) {
      free.add(slot);
    }
    int next = 0;
    while (next < prompts.size() || !running.isEmpty()) {
      step();
      while (!free.isEmpty() && next < prompts.size()) {
        start(prompts.get(next), next++, free.remove(free.size() - 1));
      }
      take(consumer, free);
    }
  }

  private void start(int[] prompt, int index, int slot) {
    decoder.truncate(slot, 0);
    decoder.prompt(slot, prompt, logits[running.size()]);
    running.add(new Running(index, slot, new ArrayList<>()));
  }

  /** Takes each sequence's next token from its logits; those that end make room. */
  private void take(ObjIntConsumer<List<Integer>> consumer, List<Integer> free) {
    List<Running> goOn = new ArrayList<>();
    for (int i = 0; i < running.size(); i++) {
      Running sequence = running.get(i);
      int id = Logits.best(logits[i]);
      boolean stopped = stopIds.contains(id);
      if (!stopped) {
        sequence.ids().add(id);
      }
      boolean full = decoder.length(sequence.slot()) == decoder.positions();
      if (stopped || full || sequence.ids().size() == maxNewTokens) {
        consumer.accept(sequence.ids(), sequence.index());
        free.add(sequence.slot());
      } else {
        goOn.add(sequence);
      }
    }
    running.clear();
    running.addAll(goOn);
  }

  /** Feeds the last token of each sequence. */
  private void step() {
    int[] slots = new int[running.size()];
    int[] ids = new int[slots.length];
    for (int i = 0; i < slots.length; i++) {
      Running sequence = running.get(i);
      slots[i] = sequence.slot();
      ids[i] = sequence.ids().get(sequence.ids().size() - 1);
    }
    if (slots.length > 0) {
      decoder.step(slots.length, slots, ids, logits);
    }
  }
}
