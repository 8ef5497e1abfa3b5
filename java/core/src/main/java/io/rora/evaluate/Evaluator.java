package io.rora.evaluate;

import io.rora.data.ClozeQuestion;
import io.rora.data.DataSet;
import io.rora.data.PromptTemplate;
import io.rora.data.Row;
import io.rora.data.Sequence;
import io.rora.data.SequenceBuilder;
import io.rora.files.FileFormatException;
import io.rora.generate.BeamSearch;
import io.rora.generate.GreedySearch;
import io.rora.kernels.Batch;
import io.rora.model.Adapters;
import io.rora.model.ContinuationScorer;
import io.rora.model.Continuations;
import io.rora.model.DecoderOptions;
import io.rora.model.DocumentPacker;
import io.rora.model.LlamaDecoder;
import io.rora.model.LlamaModel;
import io.rora.model.LlamaPass;
import io.rora.model.PassOptions;
import io.rora.tokenizer.Tokenizer;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/**
 * Measures a model, with or without adapters, on rows of data. Rows of the three multiple choice
 * tasks are those of LLM-Adapters: an instruction that ends in {@code Answer format: a/b}.
 *
 * <p>Every method throws {@link FileFormatException} naming the row that cannot be used. Not
 * thread-safe.
 */
public final class Evaluator {
  /** Most tokens that {@link #generate} lets the model answer with. */
  public static final int ANSWER_TOKENS = 32;

  // Rows generated at a time, and tokens scored at a time: the kernels' full speed, little memory.
  private static final int SEQUENCES = 16;
  private static final int PASS_TOKENS = 1024;

  private final LlamaModel model;
  private final Tokenizer tokenizer;
  private final Adapters adapters;

  /** An evaluator of a plain model; {@code model} and {@code tokenizer} stay the caller's. */
  public Evaluator(LlamaModel model, Tokenizer tokenizer) {
    this(model, tokenizer, Adapters.none());
  }

  /** An evaluator of a model with adapters, all of which stay the caller's. */
  public Evaluator(LlamaModel model, Tokenizer tokenizer, Adapters adapters) {
    this.model = model;
    this.tokenizer = tokenizer;
    this.adapters = adapters;
  }

  /**
   * The first rows of data.
   *
   * @param limit how many at most, at least 1
   */
  public static DataSet firstRows(DataSet data, int limit) {
    if (limit < 1) {
      throw new IllegalArgumentException("limit=" + limit + ": must be at least 1");
    }
    int rows = Math.min(limit, data.rows().size());
    return new DataSet(data.rows().subList(0, rows), data.files());
  }

  /** A question with its candidate answers as text. */
  private record Question(
      Row row, String prompt, List<String> candidates, List<String> labels, int answer) {}

  /**
   * Multiple choice by likelihood: the prompt is the alpaca template's, a label's score the sum of
   * log p over the tokens that {@code the correct answer is LABEL} adds. The first highest wins.
   */
  public AccuracyResult choice(DataSet data, EvaluationListener listener)
      throws FileFormatException {
    List<Question> questions = new ArrayList<>();
    for (Row row : data.rows()) {
      Row.Instruction instruction = instruction(row, "choice");
      List<String> labels = ClozeQuestion.labels(instruction);
      questions.add(
          new Question(
              row,
              PromptTemplate.alpaca(instruction.instruction(), instruction.input()),
              labels.stream().map(label -> "the correct answer is " + label).toList(),
              labels,
              ClozeQuestion.answer(instruction, labels)));
    }
    return scored("choice", questions, (question, scores) -> scores, listener);
  }

  /**
   * Multiple choice by the likelihood of the options' own texts after {@code Question:
   * ..\nAnswer:}, divided by their length in UTF-8 bytes. The first highest wins.
   */
  public AccuracyResult cloze(DataSet data, EvaluationListener listener)
      throws FileFormatException {
    List<Question> questions = new ArrayList<>();
    List<ClozeQuestion> cloze = new ArrayList<>();
    for (Row row : data.rows()) {
      ClozeQuestion question = ClozeQuestion.of(instruction(row, "cloze"));
      List<String> candidates = new ArrayList<>();
      for (int option = 0; option < question.labels().size(); option++) {
        candidates.add(question.candidate(option));
      }
      cloze.add(question);
      questions.add(
          new Question(row, question.prompt(), candidates, question.labels(), question.answer()));
    }
    Normalisation perByte =
        (index, scores) -> {
          for (int option = 0; option < scores.length; option++) {
            scores[option] /= cloze.get(index).bytes(option);
          }
          return scores;
        };
    return scored("cloze", questions, perByte, listener);
  }

  /** What becomes of the scores of the question with an index. */
  @FunctionalInterface
  private interface Normalisation {
    double[] apply(int index, double[] scores);
  }

  private static Row.Instruction instruction(Row row, String task) throws FileFormatException {
    if (row instanceof Row.Instruction instruction) {
      return instruction;
    }
    throw new FileFormatException(
        row.place().toString(),
        "has the fields "
            + row.kind().fields()
            + ": the task "
            + task
            + " needs "
            + Row.Kind.INSTRUCTION.fields());
  }

  private AccuracyResult scored(
      String task, List<Question> questions, Normalisation rule, EvaluationListener listener)
      throws FileFormatException {
    List<Continuations> continuations = new ArrayList<>();
    for (Question question : questions) {
      continuations.add(tokens(question));
    }
    List<Prediction> predictions = new ArrayList<>();
    ContinuationScorer.score(
        model,
        adapters,
        continuations,
        (scores, index) -> {
          predictions.add(prediction(questions.get(index), rule.apply(index, scores)));
          listener.onRows(predictions.size(), questions.size());
        });
    return new AccuracyResult(task, predictions);
  }

  private Continuations tokens(Question question) throws FileFormatException {
    List<int[]> candidates = new ArrayList<>();
    for (String candidate : question.candidates()) {
      candidates.add(encode(question.row(), question.prompt() + candidate));
    }
    return new Continuations(candidates, encode(question.row(), question.prompt()).length);
  }

  private static void requireFinite(double score) {
    if (!Double.isFinite(score)) {
      throw new IllegalStateException(
          "the model's likelihoods are not finite: its weights or adapter are broken");
    }
  }

  private static Prediction prediction(Question question, double[] scores) {
    Map<String, Double> byLabel = new LinkedHashMap<>();
    int best = 0;
    for (int i = 0; i < scores.length; i++) {
      requireFinite(scores[i]);
      byLabel.put(question.labels().get(i), scores[i]);
      best = scores[i] > scores[best] ? i : best;
    }
    return new Prediction(
        question.labels().get(question.answer()),
        Optional.of(question.labels().get(best)),
        byLabel,
        "");
  }

  /** Tokens of a text that is to be continued, which must fit in the model's context. */
  private int[] encode(Row row, String text) throws FileFormatException {
    int[] ids;
    try {
      ids = tokenizer.encodePrompt(text);
    } catch (IllegalArgumentException e) {
      throw new FileFormatException(row.place().toString(), e.getMessage());
    }
    checkLength(row, ids.length);
    return ids;
  }

  private void checkLength(Row row, int tokens) throws FileFormatException {
    int context = model.config().maxPositionEmbeddings();
    if (tokens > context) {
      throw new FileFormatException(
          row.place().toString(),
          "has " + tokens + " tokens, which do not fit in the model's context of " + context);
    }
  }

  /**
   * Multiple choice by generation: up to 32 tokens after the alpaca prompt, greedily or by beams;
   * the label that stands first in them, as a whole word in any case, is the answer.
   *
   * @param beams 1 is greedy
   */
  public AccuracyResult generate(DataSet data, int beams, EvaluationListener listener)
      throws FileFormatException {
    if (beams < 1) {
      throw new IllegalArgumentException("beams=" + beams + ": must be at least 1");
    }
    List<Row.Instruction> rows = new ArrayList<>();
    List<List<String>> labels = new ArrayList<>();
    List<int[]> prompts = new ArrayList<>();
    for (Row row : data.rows()) {
      Row.Instruction instruction = instruction(row, "generate");
      rows.add(instruction);
      labels.add(ClozeQuestion.labels(instruction));
      String prompt = PromptTemplate.alpaca(instruction.instruction(), instruction.input());
      prompts.add(encode(row, prompt));
    }
    String[] texts = beams == 1 ? greedy(prompts, listener) : byBeams(prompts, beams, listener);
    List<Prediction> predictions = new ArrayList<>();
    for (int i = 0; i < texts.length; i++) {
      String answer = labels.get(i).get(ClozeQuestion.answer(rows.get(i), labels.get(i)));
      Optional<String> found = LabelFinder.find(texts[i], labels.get(i));
      predictions.add(new Prediction(answer, found, Map.of(), texts[i]));
    }
    return new AccuracyResult("generate", predictions);
  }

  private String[] greedy(List<int[]> prompts, EvaluationListener listener) {
    String[] texts = new String[prompts.size()];
    try (LlamaDecoder decoder = decoder(Math.min(SEQUENCES, prompts.size()), prompts)) {
      int[] done = {0};
      new GreedySearch(decoder, stopIds(), ANSWER_TOKENS)
          .search(
              prompts,
              (ids, index) -> {
                texts[index] = text(ids);
                listener.onRows(++done[0], texts.length);
              });
    }
    return texts;
  }

  private String[] byBeams(List<int[]> prompts, int beams, EvaluationListener listener) {
    String[] texts = new String[prompts.size()];
    try (LlamaDecoder decoder = decoder(beams, prompts)) {
      BeamSearch search = new BeamSearch(decoder, beams, stopIds());
      for (int i = 0; i < texts.length; i++) {
        texts[i] = text(search.search(prompts.get(i), ANSWER_TOKENS));
        listener.onRows(i + 1, texts.length);
      }
    }
    return texts;
  }

  private LlamaDecoder decoder(int sequences, List<int[]> prompts) {
    int longest = prompts.stream().mapToInt(ids -> ids.length).max().orElse(1);
    int positions = Math.min(longest + ANSWER_TOKENS, model.config().maxPositionEmbeddings());
    LlamaDecoder decoder =
        LlamaDecoder.create(model, new DecoderOptions(sequences, positions, adapters.ranks()));
    adapters.attach(decoder);
    return decoder;
  }

  private Set<Integer> stopIds() {
    return new HashSet<>(tokenizer.stopIds());
  }

  private String text(List<Integer> ids) {
    return tokenizer.decode(ids.stream().mapToInt(Integer::intValue).toArray());
  }

  /**
   * The mean cross entropy of the tokens that training on these rows would supervise.
   *
   * @param sequences makes a row's tokens, as {@link SequenceBuilder} does for training
   */
  public PerplexityResult perplexity(
      DataSet data, SequenceBuilder sequences, EvaluationListener listener)
      throws FileFormatException {
    List<Sequence> built = sequences.build(data);
    int longest = 1;
    for (int i = 0; i < built.size(); i++) {
      checkLength(data.rows().get(i), built.get(i).length());
      longest = Math.max(longest, built.get(i).length());
    }
    int tokens = Math.max(longest, PASS_TOKENS);
    PassOptions options = PassOptions.evaluation(tokens).withRanks(adapters.ranks());
    try (LlamaPass pass = LlamaPass.create(model, options);
        Batch batch = model.context().batch(tokens)) {
      adapters.attach(pass);
      return perplexity(built, pass, new DocumentPacker(batch), batch, listener);
    }
  }

  private static PerplexityResult perplexity(
      List<Sequence> sequences,
      LlamaPass pass,
      DocumentPacker packer,
      Batch batch,
      EvaluationListener listener) {
    double nll = 0;
    long supervised = 0;
    packer.clear();
    for (int i = 0; i < sequences.size(); i++) {
      Sequence sequence = sequences.get(i);
      packer.add(sequence.ids(), sequence.supervisedFrom(), packer.tokens());
      boolean last = i + 1 == sequences.size();
      if (last || !packer.fits(sequences.get(i + 1).length())) {
        packer.fill();
        nll += packer.labels() == 0 ? 0 : pass.loss(batch, null);
        supervised += packer.labels();
        packer.clear();
        listener.onRows(i + 1, sequences.size());
      }
    }
    requireFinite(nll);
    return new PerplexityResult(sequences.size(), supervised, nll);
  }
}
