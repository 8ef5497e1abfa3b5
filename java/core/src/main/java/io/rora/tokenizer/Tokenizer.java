package io.rora.tokenizer;

import io.rora.gguf.GgufFile;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

/**
 * Text to token ids and back, exactly as the model's own tokenizer does it: nothing is truncated,
 * padded or normalised beyond what its files say, special tokens inside the text are parsed.
 *
 * <p>It owns native memory and is closed by whoever opened it; use after close throws {@link
 * IllegalStateException}. Any number of threads may use it at once.
 */
public final class Tokenizer implements AutoCloseable {
  private final TokenizerFiles files;
  private final NativeTokenizer tokenizer;
  private final int addedAtEnd;
  private final boolean addsBos;

  Tokenizer(TokenizerFiles files) throws IOException {
    this.files = files;
    this.tokenizer = NativeTokenizer.of(files.where(), files.tokenizerJson());
    // What the tokenizer itself puts around a text shows on one without any special token.
    int[] bare = tokenizer.encode("a", false);
    int[] dressed = tokenizer.encode("a", true);
    int[] empty = tokenizer.encode("", true);
    OptionalInt bos = files.ids().bos();
    this.addsBos = bos.isPresent() && empty.length > 0 && empty[0] == bos.getAsInt();
    this.addedAtEnd = dressed.length - bare.length - leading(dressed, bare);
  }

  private static int leading(int[] dressed, int[] bare) {
    for (int from = 0; from + bare.length <= dressed.length; from++) {
      if (Arrays.equals(dressed, from, from + bare.length, bare, 0, bare.length)) {
        return from;
      }
    }
    return dressed.length - bare.length;
  }

  /**
   * Opens the tokenizer of a model: a Hugging Face directory or a GGUF file.
   *
   * @throws io.rora.files.FileFormatException naming the file that is missing or wrong, and how
   */
  public static Tokenizer open(Path model) throws IOException {
    if (Files.isDirectory(model)) {
      return new Tokenizer(HuggingFaceTokenizerFiles.read(model));
    }
    try (GgufFile file = GgufFile.open(model)) {
      return GgufTokenizer.build(file);
    }
  }

  /**
   * Returns the ids of a text, with the tokens that the tokenizer itself adds: what transformers'
   * {@code AutoTokenizer(text)["input_ids"]} gives.
   *
   * @throws IllegalArgumentException if one of them is outside the model's vocabulary
   */
  public int[] encode(String text) {
    return checked(tokenizer.encode(text, true));
  }

  /**
   * Returns the ids of a text that is to be continued: as {@link #encode}, without an end token.
   */
  public int[] encodePrompt(String text) {
    int[] ids = encode(text);
    return addedAtEnd == 0 ? ids : Arrays.copyOf(ids, ids.length - addedAtEnd);
  }

  /** Returns the ids of a text alone, without the tokens that the tokenizer adds around it. */
  public int[] encodeBare(String text) {
    return checked(tokenizer.encode(text, false));
  }

  private int[] checked(int[] ids) {
    for (int id : ids) {
      if (id < 0 || id >= files.modelVocabulary()) {
        throw new IllegalArgumentException(
            "the text has the token \""
                + tokenizer.decode(new long[] {id}, false)
                + "\" (id "
                + id
                + "), but the model's vocabulary ends at id "
                + (files.modelVocabulary() - 1)
                + ": the tokenizer does not belong to the model, or the token was added to it alone");
      }
    }
    return ids;
  }

  /** Returns the text of ids, special tokens left out. */
  public String decode(int... ids) {
    return decode(ids, 0, ids.length, true);
  }

  /** Returns the text of ids, special tokens written out. */
  public String decodeWithSpecialTokens(int... ids) {
    return decode(ids, 0, ids.length, false);
  }

  String decode(int[] ids, int from, int to, boolean skipSpecialTokens) {
    if (from == to) {
      return "";
    }
    long[] range = new long[to - from];
    for (int i = from; i < to; i++) {
      range[i - from] = ids[i];
    }
    return tokenizer.decode(range, skipSpecialTokens);
  }

  /**
   * Returns a stream that turns tokens into text as they come; together its pieces are {@link
   * #decode} of all of them.
   */
  public TokenStream stream() {
    return new TokenStream(this, new int[0]);
  }

  /**
   * Returns a stream of tokens that follow others. Its pieces are what these add to the text: a
   * leading space that {@link #decode} would drop at the beginning of a text stays.
   */
  public TokenStream streamAfter(int... context) {
    return new TokenStream(this, context);
  }

  /** Returns whether {@link #encode} begins with the BOS. */
  public boolean addsBos() {
    return addsBos;
  }

  /** Returns the id that begins a sequence, where the tokenizer names one. */
  public OptionalInt bosId() {
    return files.ids().bos();
  }

  /**
   * Returns the id that ends a training sequence: the tokenizer's EOS, without one the first {@code
   * eos_token_id} of the model's configuration.
   */
  public OptionalInt eosId() {
    return files.ids().eos();
  }

  /** Returns every id that one of the model's files calls an end, {@link #eosId} first. */
  public List<Integer> stopIds() {
    return files.ids().stops();
  }

  /** Returns whether generation stops at an id. */
  public boolean isStop(int id) {
    return files.ids().stops().contains(id);
  }

  /** Returns the number of ids that the model has embeddings for. */
  public int modelVocabulary() {
    return files.modelVocabulary();
  }

  /**
   * Writes the tokenizer's files into a directory that is there, for a merged model: those it was
   * read from, or for one from a GGUF file a tokenizer.json, a tokenizer_config.json and a
   * special_tokens_map.json from which transformers makes the same tokenizer.
   */
  public void writeTo(Path directory) throws IOException {
    files.writeTo(directory);
  }

  /** Returns the files that {@link #writeTo} writes: their contents by name. */
  public Map<String, byte[]> files() throws IOException {
    return files.contents();
  }

  @Override
  public void close() {
    tokenizer.close();
  }
}
