package io.rora.data;

import java.nio.file.Path;
import java.util.Optional;

/** One row of a data file. All rows of a data set are of one kind. */
public sealed interface Row permits Row.Instruction, Row.Completion, Row.Text {
  /** Where a row stands, for messages. */
  Place place();

  /** Returns what rows of this form are called. */
  default Kind kind() {
    if (this instanceof Instruction) {
      return Kind.INSTRUCTION;
    }
    return this instanceof Completion ? Kind.COMPLETION : Kind.TEXT;
  }

  /** The forms of rows. */
  enum Kind {
    /** {@code instruction}, {@code input}, {@code output}, {@code answer}. */
    INSTRUCTION("instruction/input/output"),
    /** {@code prompt}, {@code completion}. */
    COMPLETION("prompt/completion"),
    /** {@code text}. */
    TEXT("text");

    private final String fields;

    Kind(String fields) {
      this.fields = fields;
    }

    /** Returns the names of the fields, for messages. */
    public String fields() {
      return fields;
    }
  }

  /**
   * A file and the number of a row in it, from 1.
   *
   * @param file as the user named it
   */
  record Place(Path file, int number) {
    @Override
    public String toString() {
      return file + ": row " + number;
    }
  }

  /**
   * A row as LLM-Adapters writes it.
   *
   * @param input further context, empty where there is none
   * @param output the response; absent only where there is an {@code answer}
   * @param answer the label of the right choice
   */
  record Instruction(
      Place place,
      String instruction,
      String input,
      Optional<String> output,
      Optional<String> answer)
      implements Row {}

  /** A prompt and its completion, taken as they are. */
  record Completion(Place place, String prompt, String completion) implements Row {}

  /** Plain text, every token of which is learned. */
  record Text(Place place, String text) implements Row {}
}
