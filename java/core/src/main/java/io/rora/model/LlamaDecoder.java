package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.kernels.Activation;
import io.rora.kernels.Batch;
import io.rora.kernels.DataType;
import io.rora.kernels.LinearGroup;
import io.rora.kernels.LowRank;
import io.rora.kernels.RoraContext;

/**
 * Runs a {@link LlamaModel} token by token with a cache of keys and values, for one or several
 * sequences at a time. Logits are computed only where they are asked for.
 *
 * <p>Not thread-safe. Close it before its model.
 */
public final class LlamaDecoder implements AutoCloseable, AdapterHost {
  // Long enough for the full speed of the kernels, which pack a block of weights once for a chunk,
  // and short enough for little memory.
  private static final int CHUNK_TOKENS = 512;

  private final LlamaModel model;
  private final LlamaPass pass;
  private final KeyValueCache cache;
  private final Batch batch;
  private final LinearGroup head;
  private final Activation lastHidden;
  private final Activation logits;
  private boolean closed;

  private LlamaDecoder(LlamaModel model, DecoderOptions options) {
    checkPositions(model.config(), options.positions());
    this.model = model;
    RoraContext context = model.context();
    int chunk = chunkTokens(options);
    pass = LlamaPass.create(model, PassOptions.evaluation(chunk).withRanks(options.ranks()));
    cache = new KeyValueCache(model, options.sequences(), options.positions());
    batch = context.batch(chunk);
    head = context.linear(1);
    head.setWeight(0, model.head(), null, null);
    DataType type = model.dataType();
    lastHidden = context.activation(type, options.sequences(), model.config().hiddenSize(), 0);
    logits = context.activation(type, options.sequences(), model.config().vocabSize(), 0);
  }

  /**
   * Makes a decoder that has seen nothing.
   *
   * @throws IllegalArgumentException if {@code positions} exceeds the model's context
   */
  public static LlamaDecoder create(LlamaModel model, DecoderOptions options) {
    return new LlamaDecoder(model, options);
  }

  /** Bytes that a decoder allocates on its context. */
  public static long bytes(ModelConfig config, DataType type, DecoderOptions options) {
    int chunk = chunkTokens(options);
    return LlamaPass.bytes(config, type, PassOptions.evaluation(chunk).withRanks(options.ranks()))
        + KeyValueCache.bytes(config, type, options.sequences(), options.positions())
        + DeviceBytes.batch(chunk)
        + Activation.bytes(type, options.sequences(), config.hiddenSize(), 0)
        + Activation.bytes(type, options.sequences(), config.vocabSize(), 0);
  }

  private static int chunkTokens(DecoderOptions options) {
    return Math.max(options.sequences(), Math.min(options.positions(), CHUNK_TOKENS));
  }

  private static void checkPositions(ModelConfig config, int positions) {
    if (positions > config.maxPositionEmbeddings()) {
      throw new IllegalArgumentException(
          positions
              + " tokens do not fit in the model's context of "
              + config.maxPositionEmbeddings()
              + ": shorten the prompt or generate less");
    }
  }

  @Override
  public LlamaModel model() {
    return model;
  }

  @Override
  public void attach(String path, LowRank adapter) {
    pass.attach(path, adapter);
  }

  @Override
  public void detachAll() {
    pass.detachAll();
  }

  /** Sequences that it can hold. */
  public int sequences() {
    return cache.sequences();
  }

  /** Most tokens of a sequence. */
  public int positions() {
    return cache.positions();
  }

  /** Tokens that a sequence has seen. */
  public int length(int sequence) {
    return cache.length(sequence);
  }

  /** Forgets all but a sequence's first {@code length} tokens. */
  public void truncate(int sequence, int length) {
    if (length < 0 || length > cache.length(sequence)) {
      throw new IllegalArgumentException(
          "length=" + length + ": the sequence has seen " + cache.length(sequence) + " tokens");
    }
    cache.setLength(sequence, length);
  }

  /**
   * Makes sequence {@code target} see what {@code source} has seen.
   *
   * @param shared how many first tokens both have in common already
   */
  public void copy(int source, int target, int shared) {
    if (source != target) {
      cache.copy(source, target, shared);
    }
  }

  /**
   * Appends tokens to a sequence.
   *
   * @param ids at least one
   * @param target receives the logits after the last token, one per word of the vocabulary
   * @throws IllegalArgumentException if the sequence has no room for them
   */
  public void prompt(int sequence, int[] ids, float[] target) {
    if (ids.length == 0) {
      throw new IllegalArgumentException("no tokens: a prompt needs at least one");
    }
    checkRoom(sequence, ids.length);
    for (int from = 0; from < ids.length; from += batch.maxTokens()) {
      int count = Math.min(batch.maxTokens(), ids.length - from);
      for (int i = 0; i < count; i++) {
        put(i, ids[from + i], sequence);
      }
      batch.fill(count);
      Activation hidden = pass.forward(batch, cache);
      if (from + count == ids.length) {
        lastHidden.resize(1);
        hidden.copyTokens(count - 1, lastHidden, 0, 1);
      }
    }
    head.forward(null, lastHidden, null, logits);
    logits.read(0, 1, 0, target.length, target);
  }

  /**
   * Appends one token to each of several sequences, all in one pass.
   *
   * @param count how many
   * @param sequences which, all different
   * @param ids the tokens
   * @param targets each receives the logits after its sequence's token
   */
  public void step(int count, int[] sequences, int[] ids, float[][] targets) {
    for (int i = 0; i < count; i++) {
      checkRoom(sequences[i], 1);
      put(i, ids[i], sequences[i]);
    }
    batch.fill(count);
    Activation hidden = pass.forward(batch, cache);
    lastHidden.resize(count);
    hidden.copyTokens(0, lastHidden, 0, count);
    head.forward(null, lastHidden, null, logits);
    for (int i = 0; i < count; i++) {
      logits.read(i, 1, 0, targets[i].length, targets[i]);
    }
  }

  private void checkRoom(int sequence, int count) {
    if (cache.length(sequence) + count > cache.positions()) {
      throw new IllegalArgumentException(
          "the sequence has seen "
              + cache.length(sequence)
              + " tokens: "
              + count
              + " more do not fit in the "
              + cache.positions()
              + " that this decoder holds");
    }
  }

  /** Makes token {@code i} of the batch the next of its sequence. */
  private void put(int i, int id, int sequence) {
    int position = cache.length(sequence);
    batch.ids().put(i, id);
    batch.labels().put(i, -100);
    batch.positions().put(i, position);
    batch.begins().put(i, cache.begin(sequence));
    batch.order().put(i, i);
    cache.setLength(sequence, position + 1);
  }

  /** Frees cache and activations. A second call does nothing. */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    closed = true;
    pass.close();
    cache.close();
    batch.close();
    head.close();
    lastHidden.close();
    logits.close();
  }
}
