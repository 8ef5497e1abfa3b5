package io.rora.tokenizer;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.Arrays;
import org.junit.jupiter.api.Test;

class TokenStreamTest {
  @Test
  void noPieceEndsWithinACharacter() throws IOException {
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("gpt-2.gguf"))) {
      String text = "a🦀b漢𝄞é";
      int[] ids = tokenizer.encode(text);
      assertTrue(ids.length > text.codePointCount(0, text.length()), "some character is cut");
      TokenStream stream = tokenizer.stream();
      StringBuilder all = new StringBuilder();
      for (int id : ids) {
        String piece = stream.add(id);
        assertFalse(piece.contains("\uFFFD"), piece);
        all.append(piece);
      }
      assertEquals(text, all.append(stream.finish()).toString());
    }
  }

  @Test
  void whatNeverBecomesACharacterIsGivenInTheEnd() throws IOException {
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("gpt-2.gguf"))) {
      int[] crab = tokenizer.encode("🦀");
      TokenStream stream = tokenizer.stream();
      assertEquals("", stream.add(crab[0]));
      assertEquals("\uFFFD", stream.finish());
    }
  }

  @Test
  void brokenBytesAreNotHeldBackForever() throws IOException {
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("gpt-2.gguf"))) {
      int[] crab = tokenizer.encode("🦀");
      TokenStream stream = tokenizer.stream();
      int given = 0;
      for (int i = 0; i < 1000; i++) {
        given += stream.add(crab[0]).length();
      }
      assertTrue(given > 900, given + " characters given");
    }
  }

  @Test
  void sentencePieceKeepsTheSpaceAfterAContext() throws IOException {
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("spm.gguf"))) {
      int[] ids = tokenizer.encode("the sea is blue");
      int[] prompt = tokenizer.encode("the sea");
      assertEquals(prompt.length, Arrays.mismatch(ids, prompt));
      TokenStream after = tokenizer.streamAfter(prompt);
      TokenStream alone = tokenizer.stream();
      StringBuilder textAfter = new StringBuilder();
      StringBuilder textAlone = new StringBuilder();
      for (int id : Arrays.copyOfRange(ids, prompt.length, ids.length)) {
        textAfter.append(after.add(id));
        textAlone.append(alone.add(id));
      }
      assertEquals(" is blue", textAfter + after.finish());
      assertEquals("is blue", textAlone + alone.finish());
    }
  }
}
