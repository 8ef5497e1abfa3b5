package io.rora.cli.quickstart;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Trains a byte-level BPE tokenizer as GPT-2 has it (Sennrich et al., arXiv:1508.07909): words are
 * cut by GPT-2's pattern, their bytes written as printable characters, and the most frequent pair
 * of neighbours is merged again and again. Of equally frequent pairs the first in the alphabet
 * wins, so the result follows from the text alone.
 */
final class BytePairTrainer {
  /** Ends every sequence; token 0. */
  static final String END_OF_TEXT = "<|endoftext|>";

  private static final Pattern WORDS =
      Pattern.compile(
          "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");

  private BytePairTrainer() {}

  /** Two tokens that become one. */
  record Merge(String left, String right) implements Comparable<Merge> {
    @Override
    public int compareTo(Merge other) {
      int byLeft = left.compareTo(other.left);
      return byLeft != 0 ? byLeft : right.compareTo(other.right);
    }
  }

  /**
   * Trains a tokenizer.
   *
   * @param text what it must cut well
   * @param vocabularySize tokens in all: the end of text, the 256 bytes, and one for each merge
   * @return the content of {@code tokenizer.json}, for a JSON writer
   */
  static Map<String, Object> train(List<String> text, int vocabularySize) {
    List<String> tokens = new ArrayList<>(List.of(END_OF_TEXT));
    byteCharacters().stream().sorted().forEach(tokens::add);
    Map<List<String>, Integer> words = countWords(text);
    List<Merge> merges = new ArrayList<>();
    while (tokens.size() < vocabularySize) {
      Merge best = mostFrequent(countPairs(words));
      if (best == null) {
        throw new IllegalArgumentException(
            "the text gives only " + tokens.size() + " tokens: ask for fewer or give more text");
      }
      merges.add(best);
      tokens.add(best.left() + best.right());
      words = apply(best, words);
    }
    return tokenizerJson(tokens, merges);
  }

  private static Map<List<String>, Integer> countWords(List<String> text) {
    List<String> characters = byteCharacters();
    Map<List<String>, Integer> words = new LinkedHashMap<>();
    for (String line : text) {
      Matcher word = WORDS.matcher(line);
      while (word.find()) {
        List<String> letters = new ArrayList<>();
        for (byte b : word.group().getBytes(StandardCharsets.UTF_8)) {
          letters.add(characters.get(b & 0xFF));
        }
        words.merge(letters, 1, Integer::sum);
      }
    }
    return words;
  }

  private static Map<Merge, Integer> countPairs(Map<List<String>, Integer> words) {
    Map<Merge, Integer> pairs = new TreeMap<>();
    words.forEach(
        (letters, count) -> {
          for (int i = 0; i + 1 < letters.size(); i++) {
            pairs.merge(new Merge(letters.get(i), letters.get(i + 1)), count, Integer::sum);
          }
        });
    return pairs;
  }

  private static Merge mostFrequent(Map<Merge, Integer> pairs) {
    Merge best = null;
    for (Map.Entry<Merge, Integer> pair : pairs.entrySet()) {
      if (best == null || pair.getValue() > pairs.get(best)) {
        best = pair.getKey();
      }
    }
    return best;
  }

  private static Map<List<String>, Integer> apply(Merge merge, Map<List<String>, Integer> words) {
    Map<List<String>, Integer> merged = new LinkedHashMap<>();
    words.forEach((letters, count) -> merged.merge(apply(merge, letters), count, Integer::sum));
    return merged;
  }

  private static List<String> apply(Merge merge, List<String> letters) {
    List<String> merged = new ArrayList<>(letters.size());
    for (int i = 0; i < letters.size(); i++) {
      boolean hit =
          i + 1 < letters.size()
              && letters.get(i).equals(merge.left())
              && letters.get(i + 1).equals(merge.right());
      merged.add(hit ? merge.left() + merge.right() : letters.get(i));
      i += hit ? 1 : 0;
    }
    return merged;
  }

  /** GPT-2's printable character for each byte: its own where it has one, else from U+0100 on. */
  private static List<String> byteCharacters() {
    List<String> characters = new ArrayList<>();
    int next = 0x100;
    for (int b = 0; b < 256; b++) {
      boolean printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      characters.add(Character.toString(printable ? b : next++));
    }
    return characters;
  }

  private static Map<String, Object> tokenizerJson(List<String> tokens, List<Merge> merges) {
    Map<String, Object> vocabulary = new LinkedHashMap<>();
    tokens.forEach(token -> vocabulary.put(token, vocabulary.size()));
    Map<String, Object> model = new LinkedHashMap<>();
    model.put("type", "BPE");
    model.put("dropout", null);
    model.put("unk_token", null);
    model.put("continuing_subword_prefix", null);
    model.put("end_of_word_suffix", null);
    model.put("fuse_unk", false);
    model.put("byte_fallback", false);
    model.put("ignore_merges", false);
    model.put("vocab", vocabulary);
    model.put("merges", merges.stream().map(m -> List.of(m.left(), m.right())).toList());
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("version", "1.0");
    json.put("truncation", null);
    json.put("padding", null);
    json.put("added_tokens", List.of(endOfText()));
    json.put("normalizer", null);
    json.put("pre_tokenizer", byteLevel());
    json.put("post_processor", null);
    json.put("decoder", byteLevel());
    json.put("model", model);
    return json;
  }

  private static Map<String, Object> byteLevel() {
    Map<String, Object> json = new LinkedHashMap<>();
    json.put("type", "ByteLevel");
    json.put("add_prefix_space", false);
    json.put("trim_offsets", true);
    json.put("use_regex", true);
    return json;
  }

  private static Map<String, Object> endOfText() {
    Map<String, Object> json = new HashMap<>();
    json.put("id", 0);
    json.put("content", END_OF_TEXT);
    for (String flag : List.of("single_word", "lstrip", "rstrip", "normalized")) {
      json.put(flag, false);
    }
    json.put("special", true);
    return new TreeMap<>(json);
  }
}
