package io.rora.data;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import io.rora.files.FileFormatException;
import io.rora.tokenizer.Golden;
import io.rora.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SequenceBuilderTest {
  @TempDir Path folder;

  private DataSet rows(String json) throws IOException {
    return RowReader.read(List.of(Files.writeString(folder.resolve("rows.json"), json)));
  }

  private static int[] labels(Sequence sequence) {
    return IntStream.range(0, sequence.length())
        .map(i -> i < sequence.supervisedFrom() ? -100 : sequence.id(i))
        .toArray();
  }

  @ParameterizedTest
  @ValueSource(strings = {"smollm", "llama-bpe"})
  void alpacaSequencesAreThoseOfTheReference(String name) throws IOException {
    Golden golden = Golden.read();
    DataSet data = rows(golden.rows().toString());
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path(name))) {
      for (JsonNode setting : golden.testCase(name).get("sequences")) {
        SequenceBuilder builder =
            new SequenceBuilder(
                tokenizer,
                PromptTemplate.ALPACA,
                setting.get("cutoff").intValue(),
                setting.get("train_on_inputs").booleanValue());
        List<Sequence> sequences = builder.build(data);
        for (int i = 0; i < sequences.size(); i++) {
          String where = name + " " + setting.get("cutoff") + ", row " + (i + 1);
          JsonNode expected = setting.get("rows").get(i);
          assertArrayEquals(Golden.ints(expected.get("ids")), sequences.get(i).ids(), where);
          assertArrayEquals(Golden.ints(expected.get("labels")), labels(sequences.get(i)), where);
        }
      }
    }
  }

  @Test
  void clozeSequenceIsPromptAndTheRightOptionsText() throws IOException {
    DataSet data =
        rows(
            "[{\"instruction\":\"Choose: Why?\\n\\nA: one B: two\\n\\nAnswer format: a/b\","
                + "\"output\":\"the correct answer is b\"}]");
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("smollm"))) {
      Sequence sequence =
          new SequenceBuilder(tokenizer, PromptTemplate.CLOZE, 64, false).build(data).get(0);
      assertEquals("Question: Why?\nAnswer: two", tokenizer.decode(sequence.ids()));
      assertEquals(tokenizer.encode("Question: Why?\nAnswer:").length, sequence.supervisedFrom());
      assertEquals(2, sequence.id(sequence.length() - 1));
    }
  }

  @Test
  void everyTokenOfTextButTheFirstIsSupervised() throws IOException {
    DataSet data = rows("[{\"text\":\"the sea is blue\"}]");
    for (String name : List.of("smollm", "llama-bpe")) {
      try (Tokenizer tokenizer = Tokenizer.open(Golden.path(name))) {
        Sequence sequence =
            new SequenceBuilder(tokenizer, PromptTemplate.PLAIN, 64, false).build(data).get(0);
        assertEquals(sequence.length() - 1, sequence.supervisedTokens());
      }
    }
  }

  @Test
  void aCutOffResponseLeavesNothingSupervised() throws IOException {
    DataSet data = rows("[{\"prompt\":\"the sea is\",\"completion\":\" blue\"}]");
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("smollm"))) {
      Sequence sequence =
          new SequenceBuilder(tokenizer, PromptTemplate.PLAIN, 2, false).build(data).get(0);
      assertEquals(2, sequence.length());
      assertEquals(0, sequence.supervisedTokens());
    }
  }

  @Test
  void aTemplateForOtherRowsIsRefusedByRow() throws IOException {
    DataSet data = rows("[{\"text\":\"x\"}]");
    try (Tokenizer tokenizer = Tokenizer.open(Golden.path("smollm"))) {
      SequenceBuilder builder = new SequenceBuilder(tokenizer, PromptTemplate.ALPACA, 9, false);
      FileFormatException e = assertThrows(FileFormatException.class, () -> builder.build(data));
      assertTrue(e.getMessage().contains("rows.json: row 1"), e.getMessage());
      assertTrue(e.getMessage().contains("plain"), e.getMessage());
    }
  }

  @Test
  void templatesHaveTheNamesOfTheCommandLine() {
    assertEquals(PromptTemplate.CLOZE, PromptTemplate.named("cloze"));
    assertEquals(PromptTemplate.ALPACA, PromptTemplate.defaultFor(Row.Kind.INSTRUCTION));
    assertEquals(PromptTemplate.PLAIN, PromptTemplate.defaultFor(Row.Kind.TEXT));
    assertThrows(IllegalArgumentException.class, () -> PromptTemplate.named("chatml"));
  }
}
