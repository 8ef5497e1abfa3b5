package io.rora.data;

import io.rora.files.FileFormatException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * A multiple choice question as LLM-Adapters writes it into an instruction, such as {@code Please
 * choose the correct answer to the question: QUESTION\n\nAnswer1: TEXT Answer2: TEXT\n\nAnswer
 * format: answer1/answer2}.
 *
 * @param question the question alone: the instruction from after its first {@code ": "} up to the
 *     first option or {@code Answer format:}, stripped
 * @param labels what stands after {@code Answer format:}, split at {@code /}
 * @param texts the options' own texts in the order of the labels; where none is given, the labels
 * @param answer index of the right one: that of {@code answer}, without it of the last word of
 *     {@code output}
 */
public record ClozeQuestion(String question, List<String> labels, List<String> texts, int answer) {
  private static final String FORMAT = "Answer format:";

  /** Copies the lists. */
  public ClozeQuestion {
    labels = List.copyOf(labels);
    texts = List.copyOf(texts);
  }

  /** Returns {@code Question: Q\nAnswer:}. */
  public String prompt() {
    return "Question: " + question + "\nAnswer:";
  }

  /** Returns what would follow the prompt if an option were right: a space and its text. */
  public String candidate(int option) {
    return " " + texts.get(option);
  }

  /** Returns the length of an option's text in UTF-8, by which its score is divided. */
  public int bytes(int option) {
    return texts.get(option).getBytes(StandardCharsets.UTF_8).length;
  }

  /**
   * Returns the labels of a row: its candidates where the options' texts do not matter.
   *
   * @throws FileFormatException naming the row, if it has no {@code Answer format:}
   */
  public static List<String> labels(Row.Instruction row) throws FileFormatException {
    int format = format(row);
    String rest = row.instruction().substring(format + FORMAT.length()).strip();
    List<String> labels =
        Arrays.stream(rest.lines().findFirst().orElse("").split("/", -1))
            .map(String::strip)
            .toList();
    if (labels.size() < 2
        || labels.contains("")
        || labels.stream().distinct().count() != labels.size()) {
      throw error(
          row,
          "has \""
              + rest
              + "\" after \""
              + FORMAT
              + "\": at least two different labels separated by / are expected");
    }
    return labels;
  }

  /**
   * Returns the index of a row's right label.
   *
   * @throws FileFormatException naming the row, if none of the labels is right
   */
  public static int answer(Row.Instruction row, List<String> labels) throws FileFormatException {
    String answer = row.answer().orElseGet(() -> lastWord(row.output().orElse(""))).strip();
    for (int i = 0; i < labels.size(); i++) {
      if (labels.get(i).equalsIgnoreCase(answer)) {
        return i;
      }
    }
    throw error(row, "has the answer \"" + answer + "\", which is none of its labels " + labels);
  }

  /**
   * Takes a row's instruction apart.
   *
   * @throws FileFormatException naming the row, if it is not such a question
   */
  public static ClozeQuestion of(Row.Instruction row) throws FileFormatException {
    List<String> labels = labels(row);
    String body = row.instruction().substring(0, format(row));
    Options options = Options.find(body, labels);
    List<String> texts = options.none() ? labels : options.texts(body);
    for (int i = 0; i < texts.size(); i++) {
      if (texts.get(i) == null || texts.get(i).isEmpty()) {
        throw error(row, "has no text for its option \"" + labels.get(i) + "\"");
      }
    }
    return new ClozeQuestion(
        question(body.substring(0, options.first(body.length()))),
        labels,
        texts,
        answer(row, labels));
  }

  private static String question(String beforeOptions) {
    int colon = beforeOptions.indexOf(": ");
    return (colon < 0 ? beforeOptions : beforeOptions.substring(colon + 2)).strip();
  }

  private static int format(Row.Instruction row) throws FileFormatException {
    int format = row.instruction().indexOf(FORMAT);
    if (format < 0) {
      throw error(
          row,
          "has no \""
              + FORMAT
              + "\" in its instruction: it is no multiple choice"
              + " question, which this task and the template cloze need");
    }
    return format;
  }

  private static String lastWord(String output) {
    String words = output.strip();
    int begin = words.length();
    while (begin > 0 && !Character.isWhitespace(words.charAt(begin - 1))) {
      begin--;
    }
    return words.substring(begin);
  }

  private static FileFormatException error(Row.Instruction row, String problem) {
    return new FileFormatException(row.place().toString(), problem);
  }

  /**
   * Where the options stand in an instruction; -1 for one that does not.
   *
   * @param begins of each option, where its label begins
   * @param textBegins of each option, where its text begins
   */
  private record Options(List<Integer> begins, List<Integer> textBegins) {
    static Options find(String body, List<String> labels) {
      List<Integer> begins = new ArrayList<>();
      List<Integer> textBegins = new ArrayList<>();
      for (String label : labels) {
        Matcher matcher =
            Pattern.compile(
                    "(?:^|\\s)(" + Pattern.quote(label) + ": )",
                    Pattern.CASE_INSENSITIVE | Pattern.UNICODE_CASE)
                .matcher(body);
        boolean found = matcher.find();
        begins.add(found ? matcher.start(1) : -1);
        textBegins.add(found ? matcher.end(1) : -1);
      }
      return new Options(begins, textBegins);
    }

    boolean none() {
      return first(-1) == -1;
    }

    int first(int otherwise) {
      return begins.stream().filter(begin -> begin >= 0).min(Integer::compare).orElse(otherwise);
    }

    /** Returns each option's text, up to the next option or the end; null where there is none. */
    List<String> texts(String body) {
      List<String> texts = new ArrayList<>();
      for (int from : textBegins) {
        int to =
            begins.stream()
                .filter(begin -> begin >= from)
                .min(Integer::compare)
                .orElse(body.length());
        texts.add(from < 0 ? null : body.substring(from, to).strip());
      }
      return texts;
    }
  }
}
