package io.rora.tokenizer;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.files.FileFormatException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalInt;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TokenizerFilesTest {
  @TempDir Path model;

  @BeforeEach
  void copyTokenizer() throws IOException {
    Files.copy(Golden.path("smollm/tokenizer.json"), model.resolve("tokenizer.json"));
  }

  @Test
  void missingTokenizerNamesTheFilesLookedFor() throws IOException {
    Files.delete(model.resolve("tokenizer.json"));
    assertMessage(() -> Tokenizer.open(model), model.toString(), "tokenizer.json");
    Files.writeString(model.resolve("tokenizer.model"), "x");
    assertMessage(() -> Tokenizer.open(model), "tokenizer.json", "save_pretrained");
  }

  @ParameterizedTest
  @ValueSource(strings = {"\"</s>\"", "{\"content\": \"</s>\", \"special\": true}"})
  void eosTokenIsAStringOrAnObject(String eos) throws IOException {
    write("tokenizer_config.json", "{\"eos_token\": " + eos + "}");
    write("config.json", "{\"eos_token_id\": [3, 1], \"vocab_size\": 500}");
    write("generation_config.json", "{\"eos_token_id\": [3, 0]}");
    try (Tokenizer tokenizer = Tokenizer.open(model)) {
      assertEquals(OptionalInt.of(2), tokenizer.eosId());
      assertEquals(List.of(2, 3, 1, 0), tokenizer.stopIds());
    }
  }

  @Test
  void withoutEosTokenTheFirstOfTheConfigurationIsTaken() throws IOException {
    write("config.json", "{\"eos_token_id\": [3, 1], \"vocab_size\": 500}");
    try (Tokenizer tokenizer = Tokenizer.open(model)) {
      assertEquals(OptionalInt.of(3), tokenizer.eosId());
      assertTrue(tokenizer.isStop(1));
    }
  }

  @Test
  void addBosTokenPutsABosBeforeTheText() throws IOException {
    int[] bare = Tokenizer.open(model).encode("hi");
    write("tokenizer_config.json", "{\"bos_token\": \"<s>\", \"add_bos_token\": true}");
    try (Tokenizer tokenizer = Tokenizer.open(model)) {
      assertTrue(tokenizer.addsBos());
      int[] ids = tokenizer.encode("hi");
      assertEquals(1, ids[0]);
      assertEquals(bare.length + 1, ids.length);
      assertArrayEquals(bare, tokenizer.encodeBare("hi"));
    }
  }

  @Test
  void promptHasNoEosEvenIfTheTokenizerAddsOne() throws IOException {
    write(
        "tokenizer_config.json",
        "{\"bos_token\":\"<s>\",\"eos_token\":\"</s>\",\"add_bos_token\":true,"
            + "\"add_eos_token\":true}");
    try (Tokenizer tokenizer = Tokenizer.open(model)) {
      int[] ids = tokenizer.encode("hi");
      assertEquals(2, ids[ids.length - 1]);
      assertEquals(ids.length - 1, tokenizer.encodePrompt("hi").length);
    }
  }

  @Test
  void specialTokenOfTheConfigurationAloneIsParsedInText() throws IOException {
    write("tokenizer_config.json", "{\"pad_token\": \"<|pad|>\"}");
    try (Tokenizer tokenizer = Tokenizer.open(model)) {
      int[] ids = tokenizer.encode("a<|pad|>");
      assertEquals(tokenizer.modelVocabulary() - 1, ids[ids.length - 1]);
      assertEquals("a", tokenizer.decode(ids));
    }
  }

  @Test
  void tokenOutsideTheModelsVocabularyIsRefusedByName() throws IOException {
    write("tokenizer_config.json", "{\"pad_token\": \"<|pad|>\"}");
    write("config.json", "{\"vocab_size\": 400}");
    try (Tokenizer tokenizer = Tokenizer.open(model)) {
      IllegalArgumentException e =
          assertThrows(IllegalArgumentException.class, () -> tokenizer.encode("a<|pad|>"));
      assertTrue(e.getMessage().contains("<|pad|>"), e.getMessage());
      assertTrue(e.getMessage().contains("399"), e.getMessage());
    }
  }

  @Test
  void brokenFilesGiveAMessage() throws IOException {
    String whole = Files.readString(model.resolve("tokenizer.json"));
    for (String broken :
        List.of("", "[]", "{\"model\":{}}", whole.substring(0, whole.length() / 2), "\u0000")) {
      write("tokenizer.json", broken);
      assertMessage(() -> Tokenizer.open(model), model.resolve("tokenizer.json").toString());
    }
    write("tokenizer.json", whole);
    write("tokenizer_config.json", "{\"eos_token\": 7}");
    assertMessage(() -> Tokenizer.open(model), "tokenizer_config.json", "eos_token");
  }

  @Test
  void useAfterCloseIsRefused() throws IOException {
    Tokenizer tokenizer = Tokenizer.open(model);
    tokenizer.close();
    tokenizer.close();
    assertThrows(IllegalStateException.class, () -> tokenizer.encode("x"));
  }

  @Test
  void unknownPreTokenizerIsRefusedByName() {
    GgufVocabulary vocabulary = GgufVocabularyTest.byteLevel("poetry");
    assertMessage(
        () -> GgufTokenizer.files("m.gguf", vocabulary), "m.gguf", "poetry", "smollm", "llama-bpe");
  }

  @Test
  void foldersThatCannotHoldTheNativeLibraryAreNamed() throws Exception {
    Path file = Files.writeString(model.resolve("file"), "no folder");
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-DENGINE_CACHE_DIR=" + file.resolve("cache"),
                "-cp",
                System.getProperty("java.class.path"),
                OpenTokenizer.class.getName(),
                model.toString())
            .redirectErrorStream(true)
            .start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    assertEquals(0, process.waitFor(), output);
    assertTrue(output.contains(file.resolve("cache").toString()), output);
    assertTrue(output.contains("DJL_CACHE_DIR"), output);
    assertTrue(output.contains("tracking off: true"), output);
  }

  /** Prints the message with which opening a tokenizer fails. */
  static final class OpenTokenizer {
    private OpenTokenizer() {}

    /** Opens the tokenizer of the only argument. */
    public static void main(String[] args) {
      try {
        Tokenizer.open(Path.of(args[0])).close();
        System.exit(3);
      } catch (IOException e) {
        System.out.println(e.getMessage());
        System.out.println("tracking off: " + System.getProperty("OPT_OUT_TRACKING"));
      }
    }
  }

  private void write(String name, String text) throws IOException {
    Files.writeString(model.resolve(name), text);
  }

  private static void assertMessage(
      org.junit.jupiter.api.function.Executable action, String... parts) {
    FileFormatException e = assertThrows(FileFormatException.class, action);
    for (String part : parts) {
      assertTrue(e.getMessage().contains(part), e.getMessage() + " lacks " + part);
    }
    assertEquals(1, e.getMessage().lines().count(), e.getMessage());
  }
}
