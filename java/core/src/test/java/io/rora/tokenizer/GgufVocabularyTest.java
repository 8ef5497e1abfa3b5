package io.rora.tokenizer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.files.FileFormatException;
import io.rora.tokenizer.GgufVocabulary.TokenType;
import java.io.IOException;
import java.util.Collections;
import java.util.List;
import java.util.Optional;
import java.util.OptionalInt;
import org.junit.jupiter.api.Test;

class GgufVocabularyTest {
  static GgufVocabulary byteLevel(String pre) {
    return vocabulary("gpt2", pre, List.of("a", "b", "ab"), List.of(0f, 0f, 0f), List.of("a b"));
  }

  private static GgufVocabulary vocabulary(
      String model, String pre, List<String> tokens, List<Float> scores, List<String> merges) {
    return new GgufVocabulary(
        model,
        pre,
        tokens,
        Collections.nCopies(tokens.size(), TokenType.NORMAL),
        scores,
        merges,
        OptionalInt.empty(),
        OptionalInt.empty(),
        OptionalInt.empty(),
        OptionalInt.empty(),
        List.of(),
        Optional.of(false),
        Optional.empty(),
        false,
        Optional.empty());
  }

  @Test
  void bestScoreIsMergedFirst() throws IOException {
    List<String> tokens = List.of("a", "b", "c", "ab", "bc");
    for (List<Float> scores :
        List.of(List.of(0f, 0f, 0f, -1f, -2f), List.of(0f, 0f, 0f, -2f, -1f))) {
      GgufVocabulary vocabulary = vocabulary("llama", "default", tokens, scores, List.of());
      try (Tokenizer tokenizer = new Tokenizer(GgufTokenizer.files("x", vocabulary))) {
        int[] ids = tokenizer.encode("abc");
        assertEquals(2, ids.length);
        assertEquals(scores.get(3) > scores.get(4) ? 3 : 0, ids[0]);
      }
    }
  }

  @Test
  void piecesOfOneScoreAreMergedInTheOrderOfTheirIds() throws IOException {
    GgufVocabulary vocabulary =
        vocabulary(
            "llama",
            "default",
            List.of("a", "b", "c", "bc", "ab"),
            Collections.nCopies(5, -1000f),
            List.of());
    try (Tokenizer tokenizer = new Tokenizer(GgufTokenizer.files("x", vocabulary))) {
      assertEquals(0, tokenizer.encode("abc")[0]);
    }
  }

  @Test
  void brokenMergesAreRefused() {
    for (List<String> merges : List.of(List.<String>of(), List.of("ab"), List.of("a "))) {
      GgufVocabulary vocabulary =
          vocabulary("gpt2", "gpt-2", List.of("a", "b", "ab"), List.of(), merges);
      FileFormatException e =
          assertThrows(FileFormatException.class, () -> GgufTokenizer.files("x", vocabulary));
      assertTrue(e.getMessage().contains("merge"), e.getMessage());
    }
  }

  @Test
  void mergeOfUnknownTokensIsRefused() throws IOException {
    GgufVocabulary vocabulary =
        vocabulary("gpt2", "gpt-2", List.of("a", "b", "ab"), List.of(), List.of("a x"));
    TokenizerFiles files = GgufTokenizer.files("m.gguf", vocabulary);
    FileFormatException e = assertThrows(FileFormatException.class, () -> new Tokenizer(files));
    assertTrue(e.getMessage().startsWith("m.gguf: "), e.getMessage());
  }
}
