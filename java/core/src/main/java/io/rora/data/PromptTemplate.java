package io.rora.data;

import io.rora.files.FileFormatException;
import java.util.Locale;

/** How a row becomes a prompt and a response. */
public enum PromptTemplate {
  /** Alpaca's two texts, with and without an input, for instruction rows. */
  ALPACA(Row.Kind.INSTRUCTION) {
    @Override
    Parts render(Row row) throws FileFormatException {
      Row.Instruction r = (Row.Instruction) row;
      String response =
          r.output()
              .orElseThrow(() -> new FileFormatException(r.place().toString(), "has no output"));
      return new Parts(alpaca(r.instruction(), r.input()), response);
    }
  },

  /** The question of an instruction row and the text of its right option: {@link ClozeQuestion}. */
  CLOZE(Row.Kind.INSTRUCTION) {
    @Override
    Parts render(Row row) throws FileFormatException {
      ClozeQuestion question = ClozeQuestion.of((Row.Instruction) row);
      return new Parts(question.prompt(), question.candidate(question.answer()));
    }
  },

  /** Prompt and completion, or text, as they are. Text has an empty prompt. */
  PLAIN(Row.Kind.COMPLETION, Row.Kind.TEXT) {
    @Override
    Parts render(Row row) {
      if (row instanceof Row.Completion completion) {
        return new Parts(completion.prompt(), completion.completion());
      }
      return new Parts("", ((Row.Text) row).text());
    }
  };

  private static final String ALPACA_PROMPT =
      "Below is an instruction that describes a task. Write a response that appropriately "
          + "completes the request.\n\n### Instruction:\n";
  private static final String ALPACA_PROMPT_WITH_INPUT =
      "Below is an instruction that describes a task, paired with an input that provides further "
          + "context. Write a response that appropriately completes the request.\n\n"
          + "### Instruction:\n";
  private static final String ALPACA_INPUT = "\n\n### Input:\n";
  private static final String ALPACA_RESPONSE = "\n\n### Response:\n";

  private final Row.Kind kind;
  private final Row.Kind otherKind;

  PromptTemplate(Row.Kind kind) {
    this(kind, kind);
  }

  PromptTemplate(Row.Kind kind, Row.Kind otherKind) {
    this.kind = kind;
    this.otherKind = otherKind;
  }

  /**
   * A row's two texts.
   *
   * @param prompt what is given
   * @param response what is to follow, without anything between
   */
  public record Parts(String prompt, String response) {}

  /** Returns the template that rows of a kind have when none is named. */
  public static PromptTemplate defaultFor(Row.Kind kind) {
    return kind == Row.Kind.INSTRUCTION ? ALPACA : PLAIN;
  }

  /** Returns the template of a name as the command line spells it. */
  public static PromptTemplate named(String name) {
    for (PromptTemplate template : values()) {
      if (template.optionName().equals(name)) {
        return template;
      }
    }
    throw new IllegalArgumentException(
        "\"" + name + "\" is no prompt template: use alpaca, cloze or plain");
  }

  /** Returns the name as the command line spells it. */
  public String optionName() {
    return name().toLowerCase(Locale.ROOT);
  }

  /** Returns whether the template is made for rows of a kind. */
  public boolean accepts(Row.Kind rowKind) {
    return rowKind == kind || rowKind == otherKind;
  }

  /**
   * Returns a row's prompt and response.
   *
   * @throws FileFormatException naming the row, if the template is not made for it
   */
  public Parts parts(Row row) throws FileFormatException {
    if (!accepts(row.kind())) {
      throw new FileFormatException(
          row.place().toString(),
          "has the fields "
              + row.kind().fields()
              + ", of which the template "
              + optionName()
              + " can make nothing: use "
              + defaultFor(row.kind()).optionName());
    }
    return render(row);
  }

  /**
   * Returns the Alpaca prompt of an instruction, up to where the response begins.
   *
   * @param input further context, empty for none
   */
  public static String alpaca(String instruction, String input) {
    return input.isEmpty()
        ? ALPACA_PROMPT + instruction + ALPACA_RESPONSE
        : ALPACA_PROMPT_WITH_INPUT + instruction + ALPACA_INPUT + input + ALPACA_RESPONSE;
  }

  abstract Parts render(Row row) throws FileFormatException;
}
