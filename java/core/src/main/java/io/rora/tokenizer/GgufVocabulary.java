package io.rora.tokenizer;

import io.rora.files.FileFormatException;
import io.rora.gguf.GgufMetadata;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.HashSet;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.Set;

/**
 * The tokenizer's part of a GGUF file's metadata.
 *
 * @param model {@code gpt2} (byte-level BPE) or {@code llama} (SentencePiece BPE)
 * @param pre name of the pre-tokenizer
 * @param tokens text of every id, no two alike
 * @param scores of every id, or empty
 * @param merges pairs {@code "left right"}, best first, or empty
 * @param ends further ids that end a text
 */
record GgufVocabulary(
    String model,
    String pre,
    List<String> tokens,
    List<TokenType> types,
    List<Float> scores,
    List<String> merges,
    OptionalInt bos,
    OptionalInt eos,
    OptionalInt unknown,
    OptionalInt padding,
    List<Integer> ends,
    Optional<Boolean> addBos,
    Optional<Boolean> addEos,
    boolean addSpacePrefix,
    Optional<String> chatTemplate) {
  private static final String KEY = "tokenizer.ggml.";

  /** What a token is. */
  enum TokenType {
    UNDEFINED,
    NORMAL,
    UNKNOWN,
    CONTROL,
    USER_DEFINED,
    UNUSED,
    BYTE;

    private static final List<TokenType> BY_NUMBER =
        List.of(UNDEFINED, NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE);
  }

  /** Reads and checks the metadata. */
  static GgufVocabulary read(GgufMetadata metadata) throws FileFormatException {
    if (!metadata.has(KEY + "model") || !metadata.has(KEY + "tokens")) {
      throw metadata.error(
          KEY + (metadata.has(KEY + "model") ? "tokens" : "model"),
          "is missing, so the file has no tokenizer: use a GGUF file that was converted with its"
              + " vocabulary");
    }
    return new Reader(metadata).read();
  }

  /** Returns whether tokens and merges are written in GPT-2's byte alphabet. */
  boolean byteLevel() {
    return model.equals("gpt2");
  }

  /** Reads keys whose defaults depend on the model. */
  private record Reader(GgufMetadata metadata) {
    GgufVocabulary read() throws FileFormatException {
      String model = metadata.string(KEY + "model");
      boolean sentencePiece = model.equals("llama");
      if (!sentencePiece && !model.equals("gpt2")) {
        throw metadata.error(
            KEY + "model",
            "is \"" + model + "\": the tokenizers that can be read are gpt2 and llama");
      }
      List<String> tokens = unique(metadata.strings(KEY + "tokens"));
      return new GgufVocabulary(
          model,
          metadata.string(KEY + "pre", "default"),
          tokens,
          types(tokens.size()),
          scores(tokens.size(), sentencePiece),
          metadata.has(KEY + "merges") ? metadata.strings(KEY + "merges") : List.of(),
          id("bos", tokens.size(), sentencePiece ? 1 : -1),
          id("eos", tokens.size(), sentencePiece ? 2 : -1),
          id("unknown", tokens.size(), sentencePiece ? 0 : -1),
          id("padding", tokens.size(), -1),
          ends(tokens.size()),
          flag("add_bos_token"),
          flag("add_eos_token"),
          metadata.bool(KEY + "add_space_prefix", sentencePiece),
          metadata.has("tokenizer.chat_template") && !metadata.isList("tokenizer.chat_template")
              ? Optional.of(metadata.string("tokenizer.chat_template"))
              : Optional.empty());
    }

    /** Gives empty and repeated tokens, which no text can mean, names of their own. */
    private static List<String> unique(List<String> tokens) {
      Set<String> seen = new HashSet<>();
      List<String> result = new ArrayList<>(tokens.size());
      for (int id = 0; id < tokens.size(); id++) {
        String token = tokens.get(id);
        if (token.isEmpty() || !seen.add(token)) {
          token = "[rora:unused " + id + "]";
          seen.add(token);
        }
        result.add(token);
      }
      return result;
    }

    private List<TokenType> types(int size) throws FileFormatException {
      TokenType[] types = new TokenType[size];
      if (!metadata.has(KEY + "token_type")) {
        Arrays.fill(types, TokenType.NORMAL);
        for (String name : List.of("bos", "eos", "unknown", "padding")) {
          id(name, size, -1).ifPresent(id -> types[id] = TokenType.CONTROL);
        }
        return List.of(types);
      }
      int[] numbers = metadata.integers(KEY + "token_type", 0, TokenType.BY_NUMBER.size() - 1);
      sameSize("token_type", numbers.length, size);
      for (int id = 0; id < size; id++) {
        types[id] = TokenType.BY_NUMBER.get(numbers[id]);
      }
      return List.of(types);
    }

    private List<Float> scores(int size, boolean needed) throws FileFormatException {
      if (!metadata.has(KEY + "scores")) {
        return Collections.nCopies(needed ? size : 0, 0f);
      }
      List<Float> scores = new ArrayList<>(size);
      for (float score : metadata.floats(KEY + "scores")) {
        scores.add(score);
      }
      sameSize("scores", scores.size(), size);
      return scores;
    }

    private void sameSize(String name, int length, int size) throws FileFormatException {
      if (length != size) {
        throw metadata.error(
            KEY + name, "has " + length + " entries, but there are " + size + " tokens");
      }
    }

    private OptionalInt id(String name, int size, int otherwise) throws FileFormatException {
      String key = KEY + name + "_token_id";
      if (metadata.has(key)) {
        return OptionalInt.of(metadata.integer(key, 0, size - 1));
      }
      return otherwise >= 0 && otherwise < size ? OptionalInt.of(otherwise) : OptionalInt.empty();
    }

    private List<Integer> ends(int size) throws FileFormatException {
      Set<Integer> ids = new LinkedHashSet<>();
      for (String name : List.of("eos", "eot", "eom")) {
        id(name, size, -1).ifPresent(ids::add);
      }
      return List.copyOf(ids);
    }

    private Optional<Boolean> flag(String name) throws FileFormatException {
      return metadata.has(KEY + name)
          ? Optional.of(metadata.bool(KEY + name, false))
          : Optional.empty();
    }
  }
}
