package io.rora.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import io.rora.model.LlamaModel;
import io.rora.model.WeightSource;
import io.rora.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

class GeneratorTest {
  private static final Path MODEL = Path.of("src/test/resources/golden/evaluate/model");
  private static final int CONTEXT = 320;

  private static WeightSource source;
  private static Tokenizer tokenizer;
  private static RoraContext context;
  private static LlamaModel model;

  @BeforeAll
  static void open() throws IOException {
    source = WeightSource.open(MODEL);
    tokenizer = Tokenizer.open(MODEL);
    context = RoraContext.open("cpu", 1);
    model = LlamaModel.load(context, source, DataType.F32);
  }

  @AfterAll
  static void close() throws IOException {
    model.close();
    context.close();
    tokenizer.close();
    source.close();
  }

  @Test
  void theSameSeedDrawsTheSameTokensAndAnotherOneOthers() {
    GenerationOptions options = new GenerationOptions(30, 1.5, 0.9, 3);
    Generation first = generate(options);
    assertEquals(first, generate(options));
    assertNotEquals(first.tokenIds(), generate(new GenerationOptions(30, 1.5, 0.9, 4)).tokenIds());
    assertNotEquals(first.tokenIds(), generate(GenerationOptions.greedy(30)).tokenIds());
  }

  @Test
  void aSmallTopPIsGreedy() {
    assertEquals(
        generate(GenerationOptions.greedy(20)).tokenIds(),
        generate(new GenerationOptions(20, 1, 1e-6, 3)).tokenIds());
  }

  @Test
  void piecesAreTheTextAndFalseEndsIt() {
    List<String> pieces = new ArrayList<>();
    try (Generator generator = new Generator(model, tokenizer)) {
      Generation whole =
          generator.generate("Ada works", GenerationOptions.greedy(20), piece -> pieces.add(piece));
      assertEquals(whole.text(), String.join("", pieces));
      Generation cut =
          generator.generate("Ada works", GenerationOptions.greedy(20), piece -> false);
      assertEquals(Generation.End.CANCELLED, cut.end());
      assertTrue(
          whole.text().startsWith(cut.text()) && cut.text().length() < whole.text().length());
    }
  }

  @Test
  void theListenerHearsOfThePromptBeforeAnyText() {
    List<String> heard = new ArrayList<>();
    TextListener listener =
        new TextListener() {
          @Override
          public void onPrompt(int tokens) {
            heard.add("prompt of " + tokens);
          }

          @Override
          public boolean onText(String piece) {
            heard.add("text");
            return false;
          }
        };
    try (Generator generator = new Generator(model, tokenizer)) {
      int[] whole = new int[CONTEXT];
      Arrays.fill(whole, 40);
      generator.generate(whole, GenerationOptions.greedy(5), listener);
      assertEquals(List.of(), heard, "no room for a token, so the prompt is not read");
      generator.generate(new int[] {40, 41, 42}, GenerationOptions.greedy(5), listener);
      assertEquals(List.of("prompt of 3", "text"), heard);
    }
  }

  @Test
  void generationEndsWhereTheContextDoes() {
    int[] prompt = new int[CONTEXT - 3];
    Arrays.fill(prompt, 40);
    try (Generator generator = new Generator(model, tokenizer)) {
      GenerationOptions sampled = new GenerationOptions(50, 5, 1, 1);
      Generation full = generator.generate(prompt, sampled, TextListener.none());
      assertEquals(Generation.End.CONTEXT_FULL, full.end());
      assertEquals(3, full.tokenIds().size());
      IllegalArgumentException refused =
          assertThrows(
              IllegalArgumentException.class,
              () -> generator.generate(new int[CONTEXT + 1], sampled, TextListener.none()));
      assertTrue(refused.getMessage().contains("context of 320"), refused.getMessage());
      assertThrows(
          IllegalArgumentException.class,
          () -> generator.generate(new int[0], sampled, TextListener.none()));
    }
  }

  @Test
  void drawsFollowTheProbabilities() {
    float[] logits = {0, (float) Math.log(3), Float.NEGATIVE_INFINITY, (float) Math.log(4)};
    int[] counts = count(new GenerationOptions(1, 1, 1, 9), logits);
    // 1/8, 3/8, 0, 4/8 of 8000; four standard deviations are below 180.
    assertEquals(1000, counts[0], 180);
    assertEquals(3000, counts[1], 180);
    assertEquals(0, counts[2]);
    assertEquals(4000, counts[3], 180);
    int[] likely = count(new GenerationOptions(1, 1, 0.6, 9), logits);
    assertEquals(0, likely[0], "0.5 + 0.375 reaches 0.6 without it");
    assertEquals(8000 * 4 / 7.0, likely[3], 180);
  }

  private static int[] count(GenerationOptions options, float[] logits) {
    Sampler sampler = new Sampler(options, logits.length);
    int[] counts = new int[logits.length];
    for (int i = 0; i < 8000; i++) {
      counts[sampler.choose(logits)]++;
    }
    return counts;
  }

  private static Generation generate(GenerationOptions options) {
    try (Generator generator = new Generator(model, tokenizer)) {
      return generator.generate("Ada works", options);
    }
  }
}
