package io.rora.tokenizer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class GoldenTokenizerTest {
  @ParameterizedTest
  @ValueSource(
      strings = {
        "default",
        "gpt-2",
        "smollm",
        "llama-bpe",
        "qwen2",
        "tekken",
        "deepseek-coder",
        "spm"
      })
  void ggufGivesTheOriginalsIdsAndText(String name, @TempDir Path written) throws IOException {
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path(name + ".gguf"))) {
      assertGolden(name, tokenizer);
      tokenizer.writeTo(written);
    }
    try (Tokenizer reopened = Tokenizer.open(written)) {
      assertGolden(name, reopened);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"smollm", "llama-bpe"})
  void huggingFaceDirectoryGivesTransformersIdsAndText(String name) throws IOException {
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path(name))) {
      assertGolden(name, tokenizer);
    }
  }

  @Test
  void longTextIsNotTruncatedAndShortOnesNotPadded() throws IOException {
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("smollm"))) {
      int[] once = tokenizer.encode(" word");
      int[] ids = tokenizer.encode(" word".repeat(1500));
      assertEquals(1500 * once.length, ids.length);
      assertTrue(ids.length > 512);
      assertEquals(once.length, tokenizer.encode(" word").length);
    }
  }

  private static void assertGolden(String name, Tokenizer tokenizer) throws IOException {
    Golden golden = Golden.read();
    JsonNode expected = golden.testCase(name);
    List<String> texts = golden.texts();
    for (int i = 0; i < texts.size(); i++) {
      if (expected.get("ids").get(i).isNull()) {
        continue;
      }
      String where = name + ": text " + i + " \"" + texts.get(i) + "\"";
      int[] ids = tokenizer.encode(texts.get(i));
      assertArrayEquals(Golden.ints(expected.get("ids").get(i)), ids, where);
      String text = expected.get("text").get(i).textValue();
      assertEquals(text, tokenizer.decode(ids), where);
      assertEquals(text, streamed(tokenizer.stream(), ids), where);
    }
    assertEquals(expected.get("bos").intValue(), tokenizer.bosId().orElseThrow());
    assertEquals(expected.get("eos").intValue(), tokenizer.eosId().orElseThrow());
  }

  private static String streamed(TokenStream stream, int[] ids) {
    StringBuilder text = new StringBuilder();
    for (int id : ids) {
      text.append(stream.add(id));
    }
    return text.append(stream.finish()).toString();
  }
}
