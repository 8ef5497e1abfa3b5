package io.rora.evaluate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.rora.data.DataSet;
import io.rora.data.PromptTemplate;
import io.rora.data.RowReader;
import io.rora.data.SequenceBuilder;
import io.rora.files.FileFormatException;
import io.rora.generate.BeamSearch;
import io.rora.generate.GreedySearch;
import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import io.rora.model.DecoderOptions;
import io.rora.model.LlamaDecoder;
import io.rora.model.LlamaModel;
import io.rora.model.WeightSource;
import io.rora.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Held against transformers: golden/evaluate/make_golden.py says how. */
class EvaluatorTest {
  private static final Path GOLDEN = Path.of("src/test/resources/golden/evaluate");
  private static final double SCORE_TOLERANCE = 1e-3; // of log likelihoods of ~100 in float32

  private static WeightSource source;
  private static Tokenizer tokenizer;
  private static RoraContext context;
  private static LlamaModel model;
  private static DataSet rows;
  private static JsonNode golden;

  @BeforeAll
  static void open() throws IOException {
    source = WeightSource.open(GOLDEN.resolve("model"));
    tokenizer = Tokenizer.open(GOLDEN.resolve("model"));
    context = RoraContext.open("cpu", 1);
    model = LlamaModel.load(context, source, DataType.F32);
    rows = RowReader.read(List.of(GOLDEN.resolve("rows.json")));
    golden = new ObjectMapper().readTree(GOLDEN.resolve("golden.json").toFile());
  }

  @AfterAll
  static void close() throws IOException {
    model.close();
    context.close();
    tokenizer.close();
    source.close();
  }

  @Test
  void choiceScoresEqualTransformers() throws IOException {
    AccuracyResult result = new Evaluator(model, tokenizer).choice(rows, EvaluationListener.none());
    assertScores("choice", result);
    assertEquals(List.of("answer1", "answer2", "answer3", "answer4"), labels(result, 0));
    assertEquals("solution2", result.predictions().get(2).answer(), "by the output's last word");
  }

  @Test
  void clozeScoresEqualTransformers() throws IOException {
    assertScores("cloze", new Evaluator(model, tokenizer).cloze(rows, EvaluationListener.none()));
  }

  private static void assertScores(String task, AccuracyResult result) {
    assertEquals(task, result.task());
    assertEquals(golden.get("rows").size(), result.n());
    int correct = 0;
    for (int row = 0; row < result.n(); row++) {
      Prediction prediction = result.predictions().get(row);
      JsonNode expected = golden.get("rows").get(row).get(task);
      List<Double> scores = new ArrayList<>(prediction.scores().values());
      assertEquals(expected.size(), scores.size());
      int best = 0;
      for (int i = 0; i < scores.size(); i++) {
        assertEquals(
            expected.get(i).asDouble(), scores.get(i), SCORE_TOLERANCE, "row " + row + ", " + i);
        best = expected.get(i).asDouble() > expected.get(best).asDouble() ? i : best;
      }
      assertEquals(labels(result, row).get(best), prediction.prediction().orElseThrow());
      correct += prediction.correct() ? 1 : 0;
    }
    assertEquals((double) correct / result.n(), result.accuracy());
  }

  private static List<String> labels(AccuracyResult result, int row) {
    return List.copyOf(result.predictions().get(row).scores().keySet());
  }

  @Test
  void perplexityEqualsTransformers() throws IOException {
    SequenceBuilder sequences = new SequenceBuilder(tokenizer, PromptTemplate.ALPACA, 400, false);
    PerplexityResult result =
        new Evaluator(model, tokenizer).perplexity(rows, sequences, EvaluationListener.none());
    double nll = 0;
    long tokens = 0;
    for (JsonNode row : golden.get("rows")) {
      nll += row.get("nll").get(0).asDouble();
      tokens += row.get("nll").get(1).asLong();
    }
    assertEquals(tokens, result.tokens());
    assertEquals(nll / tokens, result.meanNll(), 1e-5 * nll / tokens);
    assertEquals(Math.exp(result.meanNll()), result.perplexity());
  }

  @Test
  void greedyIdsEqualTransformers() {
    List<int[]> prompts = new ArrayList<>();
    List<List<Integer>> found = new ArrayList<>();
    for (JsonNode row : golden.get("rows")) {
      prompts.add(ints(row.get("prompt_ids")).stream().mapToInt(Integer::intValue).toArray());
      found.add(null);
    }
    // Two places for four prompts: places are used again.
    DecoderOptions options = new DecoderOptions(2, 300, Map.of());
    try (LlamaDecoder decoder = LlamaDecoder.create(model, options)) {
      new GreedySearch(decoder, Set.of(2), 24)
          .search(prompts, (ids, index) -> found.set(index, ids));
    }
    for (int row = 0; row < prompts.size(); row++) {
      assertEquals(ints(golden.get("rows").get(row).get("greedy")), found.get(row), "row " + row);
    }
  }

  @Test
  void beamsEqualTransformers() {
    Set<Integer> ends = new HashSet<>(ints(golden.get("ends")));
    Set<Integer> lengths = new HashSet<>();
    DecoderOptions options = new DecoderOptions(5, 300, Map.of());
    try (LlamaDecoder decoder = LlamaDecoder.create(model, options)) {
      for (JsonNode row : golden.get("rows")) {
        int[] prompt = ints(row.get("prompt_ids")).stream().mapToInt(Integer::intValue).toArray();
        for (Map.Entry<String, JsonNode> search : row.get("beams").properties()) {
          String[] sizes = search.getKey().split(",", -1);
          BeamSearch beams = new BeamSearch(decoder, Integer.parseInt(sizes[0]), ends);
          List<Integer> ids = beams.search(prompt, Integer.parseInt(sizes[1]));
          assertEquals(ints(search.getValue()), ids, search.getKey() + " beams, tokens");
          lengths.add(ids.size());
        }
      }
    }
    assertTrue(lengths.size() > 3, "searches end early and late: " + lengths);
  }

  @Test
  void generatedAnswersAreFoundInTheText() throws IOException {
    for (int beams : new int[] {1, 3}) {
      List<Integer> heard = new ArrayList<>();
      AccuracyResult result =
          new Evaluator(model, tokenizer).generate(rows, beams, (done, total) -> heard.add(done));
      assertEquals(List.of(1, 2, 3, 4), heard);
      assertEquals(4, result.n());
      assertEquals(4, result.unparsable(), "random text has no label");
      assertEquals(0, result.accuracy());
    }
  }

  @Test
  void theFirstWholeWordIsTheAnswer() {
    List<String> labels = List.of("answer1", "answer2", "true");
    assertEquals("answer2", LabelFinder.find("So: ANSWER2, not answer1", labels).orElseThrow());
    assertEquals("answer1", LabelFinder.find("answer11 answer1", labels).orElseThrow());
    assertEquals("true", LabelFinder.find("untrue or True.", labels).orElseThrow());
    assertTrue(LabelFinder.find("truely answer12", labels).isEmpty());
  }

  @Test
  void rowsThatATaskCannotUseAreNamed(@TempDir Path folder) throws IOException {
    Path file = folder.resolve("rows.json");
    Files.writeString(
        file,
        "[{\"instruction\": \"q: x\\n\\nAnswer format: a/b\", \"output\": \"a\"},"
            + " {\"instruction\": \"no format\", \"output\": \"a\"}]");
    DataSet data = RowReader.read(List.of(file));
    Evaluator evaluator = new Evaluator(model, tokenizer);
    for (boolean cloze : new boolean[] {false, true}) {
      FileFormatException refused =
          assertThrows(
              FileFormatException.class,
              () -> {
                AccuracyResult unused =
                    cloze
                        ? evaluator.cloze(data, EvaluationListener.none())
                        : evaluator.choice(data, EvaluationListener.none());
              });
      assertTrue(refused.getMessage().contains("row 2"), refused.getMessage());
    }
    String words = "word ".repeat(200);
    Files.writeString(
        file, "[{\"instruction\": \"" + words + "Answer format: a/b\", \"output\": \"a\"}]");
    DataSet wide = RowReader.read(List.of(file));
    FileFormatException refused =
        assertThrows(
            FileFormatException.class,
            () -> evaluator.generate(wide, 1, EvaluationListener.none()));
    assertTrue(refused.getMessage().contains("context of 320"), refused.getMessage());
  }

  @Test
  void theFirstRowsAreThoseUpToTheLimit() {
    assertEquals(2, Evaluator.firstRows(rows, 2).rows().size());
    assertEquals(4, Evaluator.firstRows(rows, 9).rows().size());
    assertThrows(IllegalArgumentException.class, () -> Evaluator.firstRows(rows, 0));
  }

  private static List<Integer> ints(JsonNode array) {
    List<Integer> ints = new ArrayList<>();
    array.forEach(node -> ints.add(node.asInt()));
    return ints;
  }
}
