package io.rora.data;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.files.FileFormatException;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class ClozeQuestionTest {
  private static final String QUESTION =
      "Please choose the correct answer to the question: Who: you\nor I?\n\n"
          + "Answer1: the man: it is Answer2: é answer3:\tx\n\nAnswer format: answer1/answer2";

  private static Row.Instruction row(String instruction, String output, String answer) {
    return new Row.Instruction(
        new Row.Place(Path.of("f.json"), 7),
        instruction,
        "",
        Optional.ofNullable(output),
        Optional.ofNullable(answer));
  }

  @Test
  void questionAndOptionsAreTakenApart() throws FileFormatException {
    ClozeQuestion cloze =
        ClozeQuestion.of(row(QUESTION, "the correct answer is answer1", "answer2"));
    assertEquals("Who: you\nor I?", cloze.question());
    assertEquals("Question: Who: you\nor I?\nAnswer:", cloze.prompt());
    assertEquals(List.of("answer1", "answer2"), cloze.labels());
    assertEquals(List.of("the man: it is", "é answer3:\tx"), cloze.texts());
    assertEquals(" the man: it is", cloze.candidate(0));
    assertEquals(2 + " answer3:\tx".length(), cloze.bytes(1));
    assertEquals(1, cloze.answer());
  }

  @Test
  void withoutOptionTextsTheLabelsAreTheTexts() throws FileFormatException {
    ClozeQuestion cloze =
        ClozeQuestion.of(
            row(
                "Please answer the following question with true or false, question: is it so?\n\n"
                    + "Answer format: true/false",
                "the correct answer is false",
                null));
    assertEquals("is it so?", cloze.question());
    assertEquals(List.of("true", "false"), cloze.texts());
    assertEquals(1, cloze.answer());
  }

  @Test
  void optionsMayStandInAnotherOrderThanTheirLabels() throws FileFormatException {
    ClozeQuestion cloze =
        ClozeQuestion.of(row("Q: B: two A: one Answer format: a/b", "it is a", null));
    assertEquals("", cloze.question());
    assertEquals(List.of("one", "two"), cloze.texts());
    assertEquals(0, cloze.answer());
  }

  @Test
  void aLabelWithinAWordIsNoOption() throws FileFormatException {
    ClozeQuestion cloze =
        ClozeQuestion.of(row("Say: xA: no, A: yes B: no Answer format: A/B", null, "B"));
    assertEquals("xA: no,", cloze.question());
    assertEquals(List.of("yes", "no"), cloze.texts());
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "no format at all",
        "Q: x Answer format: ",
        "Q: x Answer format: a",
        "Q: x Answer format: a//b",
        "Q: x Answer format: a/a",
        "Q: x A: one Answer format: a/b",
        "Q: x A:  B: two Answer format: a/b"
      })
  void rowsThatAreNoQuestionAreRefusedByNumber(String instruction) {
    FileFormatException e =
        assertThrows(
            FileFormatException.class, () -> ClozeQuestion.of(row(instruction, null, "a")));
    assertTrue(e.getMessage().startsWith("f.json: row 7"), e.getMessage());
  }

  @Test
  void anAnswerThatIsNoLabelIsRefused() {
    FileFormatException e =
        assertThrows(FileFormatException.class, () -> ClozeQuestion.of(row(QUESTION, "x y", null)));
    assertTrue(e.getMessage().contains("\"y\""), e.getMessage());
  }
}
