package io.rora.generate;

import io.rora.model.Adapters;
import io.rora.model.DecoderOptions;
import io.rora.model.LlamaDecoder;
import io.rora.model.LlamaModel;
import io.rora.tokenizer.TokenStream;
import io.rora.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Continues texts with a model, as a stream: the most likely token each time, or drawn by
 * temperature and top-p. Any number of generators share a model, each with adapters of its own.
 *
 * <p>Not thread-safe. Close it before the model.
 */
public final class Generator implements AutoCloseable {
  private static final int[] FIRST_SEQUENCE = {0};

  private final LlamaModel model;
  private final Tokenizer tokenizer;
  private final float[] logits;
  private final float[][] stepLogits;
  private final int[] stepIds = new int[1];
  private Adapters adapters = Adapters.none();
  private LlamaDecoder decoder;

  /** A generator over a model and its tokenizer, both of which stay the caller's. */
  public Generator(LlamaModel model, Tokenizer tokenizer) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.logits = new float[model.config().vocabSize()];
    this.stepLogits = new float[][] {logits};
  }

  /**
   * Uses these adapters from now on, instead of those before.
   *
   * @param newAdapters which must outlive the generator or be replaced; {@link Adapters#none()} for
   *     the plain model
   */
  public void attach(Adapters newAdapters) {
    close();
    adapters = newAdapters;
  }

  /** As {@link #generate(String, GenerationOptions, TextListener)}, unheard. */
  public Generation generate(String prompt, GenerationOptions options) {
    return generate(prompt, options, TextListener.none());
  }

  /**
   * Continues a text until the model ends it, the tokens asked for are there, the model's context
   * is full, or the listener wants no more.
   *
   * @param prompt taken as it is, with a BOS where the tokenizer adds one
   * @throws IllegalArgumentException if the prompt has no tokens, or more than the model's context
   */
  public Generation generate(String prompt, GenerationOptions options, TextListener listener) {
    return generate(tokenizer.encodePrompt(prompt), options, listener);
  }

  /** As {@link #generate(String, GenerationOptions, TextListener)}, from a prompt's tokens. */
  public Generation generate(int[] promptIds, GenerationOptions options, TextListener listener) {
    int context = model.config().maxPositionEmbeddings();
    checkPrompt(promptIds.length, context);
    int room = Math.min(options.maxNewTokens(), context - promptIds.length);
    Run run = new Run(promptIds, options, listener);
    if (room == 0) {
      return run.end(Generation.End.CONTEXT_FULL);
    }
    reserve(promptIds.length + room);
    decoder.prompt(0, promptIds, logits);
    listener.onPrompt(promptIds.length);
    while (true) {
      Generation.End end = run.advance(room);
      if (end != null) {
        return run.end(end);
      }
      stepIds[0] = run.last();
      decoder.step(1, FIRST_SEQUENCE, stepIds, stepLogits);
    }
  }

  private static void checkPrompt(int tokens, int context) {
    if (tokens == 0) {
      throw new IllegalArgumentException(
          "the prompt has no tokens and the tokenizer adds none: give it some text");
    }
    if (tokens > context) {
      throw new IllegalArgumentException(
          "the prompt has "
              + tokens
              + " tokens, more than the model's context of "
              + context
              + ": shorten it");
    }
  }

  /** Makes an empty decoder for so many tokens; the one from before if it is large enough. */
  private void reserve(int positions) {
    if (decoder == null || decoder.positions() < positions) {
      close();
      decoder = LlamaDecoder.create(model, new DecoderOptions(1, positions, adapters.ranks()));
      adapters.attach(decoder);
    }
    decoder.truncate(0, 0);
  }

  /** What has come of one prompt so far. */
  private final class Run {
    private final int[] promptIds;
    private final TextListener listener;
    private final Sampler sampler;
    private final TokenStream stream;
    private final List<Integer> ids = new ArrayList<>();
    private final StringBuilder text = new StringBuilder();

    Run(int[] promptIds, GenerationOptions options, TextListener listener) {
      this.promptIds = promptIds;
      this.listener = listener;
      this.sampler = new Sampler(options, model.config().vocabSize());
      this.stream = tokenizer.streamAfter(promptIds);
    }

    int last() {
      return ids.get(ids.size() - 1);
    }

    /** Chooses a token; returns why it was the last, or null. */
    Generation.End advance(int room) {
      int id = sampler.choose(logits);
      if (tokenizer.isStop(id)) {
        return Generation.End.STOP_TOKEN;
      }
      ids.add(id);
      if (!tell(stream.add(id))) {
        return Generation.End.CANCELLED;
      }
      if (ids.size() < room) {
        return null;
      }
      boolean full =
          promptIds.length + ids.size() == model.config().maxPositionEmbeddings()
              && ids.size() < maxNewTokens();
      return full ? Generation.End.CONTEXT_FULL : Generation.End.MAX_NEW_TOKENS;
    }

    private int maxNewTokens() {
      return sampler.options().maxNewTokens();
    }

    private boolean tell(String piece) {
      text.append(piece);
      return piece.isEmpty() || listener.onText(piece);
    }

    Generation end(Generation.End end) {
      if (end != Generation.End.CANCELLED) {
        tell(stream.finish());
      }
      List<Integer> prompt = Arrays.stream(promptIds).boxed().toList();
      return new Generation(prompt, ids, text.toString(), end);
    }
  }

  /** Frees the cache and the activations; the generator can be used again. */
  @Override
  public void close() {
    if (decoder != null) {
      decoder.close();
      decoder = null;
    }
  }
}
