package io.rora.data;

import io.rora.files.FileFormatException;
import io.rora.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * Makes the token sequences that training and perplexity use.
 *
 * <p>Prompt and response are tokenised as one text, with a BOS where the tokenizer adds one, and
 * cut to the limit. Then comes an EOS, if there is room and the text does not end with one. The
 * prompt's share, which carries no labels, is the length of the prompt tokenised alone.
 */
public final class SequenceBuilder {
  private final Tokenizer tokenizer;
  private final PromptTemplate template;
  private final int cutoffLen;
  private final boolean trainOnInputs;

  /**
   * Makes a builder.
   *
   * @param cutoffLen the most tokens of a sequence, at least 1
   * @param trainOnInputs whether the prompt's tokens are labels too
   */
  public SequenceBuilder(
      Tokenizer tokenizer, PromptTemplate template, int cutoffLen, boolean trainOnInputs) {
    if (cutoffLen < 1) {
      throw new IllegalArgumentException("cutoff is " + cutoffLen + " tokens: must be at least 1");
    }
    this.tokenizer = tokenizer;
    this.template = template;
    this.cutoffLen = cutoffLen;
    this.trainOnInputs = trainOnInputs;
  }

  /**
   * Makes a row's sequence.
   *
   * @throws FileFormatException naming the row, if the template cannot be filled from it or its
   *     text has a token that the model has not
   */
  public Sequence build(Row row) throws FileFormatException {
    PromptTemplate.Parts parts = template.parts(row);
    try {
      Sequence sequence = build(parts.prompt(), parts.response());
      if (sequence.length() == 0) {
        throw new FileFormatException(row.place().toString(), "is empty: it gives no token");
      }
      return sequence;
    } catch (IllegalArgumentException e) {
      throw new FileFormatException(row.place().toString(), e.getMessage());
    }
  }

  /** Makes the sequences of all rows, in their order. */
  public List<Sequence> build(DataSet data) throws FileFormatException {
    List<Sequence> sequences = new ArrayList<>(data.rows().size());
    for (Row row : data.rows()) {
      sequences.add(build(row));
    }
    return sequences;
  }

  private Sequence build(String prompt, String response) {
    int[] ids = withEos(tokenizer.encode(prompt + response));
    if (trainOnInputs || prompt.isEmpty()) {
      return new Sequence(ids, 0);
    }
    int promptTokens = tokenizer.encodePrompt(prompt).length;
    return new Sequence(ids, Math.min(promptTokens, ids.length));
  }

  private int[] withEos(int[] all) {
    int[] ids = all.length > cutoffLen ? Arrays.copyOf(all, cutoffLen) : all;
    boolean ends =
        tokenizer.eosId().isEmpty()
            || (ids.length > 0 && ids[ids.length - 1] == tokenizer.eosId().getAsInt());
    if (ends || ids.length == cutoffLen) {
      return ids;
    }
    int[] ended = Arrays.copyOf(ids, ids.length + 1);
    ended[ids.length] = tokenizer.eosId().getAsInt();
    return ended;
  }
}
