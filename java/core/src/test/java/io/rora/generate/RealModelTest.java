package io.rora.generate;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.rora.TestFiles;
import io.rora.kernels.Batch;
import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import io.rora.model.DocumentPacker;
import io.rora.model.LlamaModel;
import io.rora.model.LlamaPass;
import io.rora.model.PassOptions;
import io.rora.model.WeightSource;
import io.rora.tokenizer.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Models that llama.cpp wrote, held against transformers on the same weights. */
class RealModelTest {
  private static final double NEAR_TIE = 0.005;

  @ParameterizedTest
  @ValueSource(
      strings = {
        "bpe-IQ4_NL",
        "bpe-Q2_K",
        "bpe-Q3_K_M",
        "bpe-Q4_0",
        "bpe-Q4_K_M",
        "bpe-Q5_1",
        "bpe-Q5_K_M",
        "bpe-Q8_0",
        "bpe-llama3-tied-Q5_0",
        "spm-linear-Q4_K_M"
      })
  void greedyIdsAndLikelihoodsEqualThoseOfTransformers(String name) throws IOException {
    Path file = TestFiles.require("models/tiny/" + name + ".gguf");
    List<JsonNode> cases = cases(name + ".gguf");
    assertFalse(cases.isEmpty(), "reference.json has cases of " + name);
    try (WeightSource source = WeightSource.open(file);
        Tokenizer tokenizer = Tokenizer.open(file);
        RoraContext context = RoraContext.open("cpu", 1);
        LlamaModel model = LlamaModel.load(context, source, DataType.F32);
        Generator generator = new Generator(model, tokenizer)) {
      for (JsonNode reference : cases) {
        String prompt = reference.get("prompt").asText();
        List<Integer> ids = ints(reference.get("greedy_ids"));
        Generation generation = generator.generate(prompt, GenerationOptions.greedy(ids.size()));
        assertEquals(ints(reference.get("prompt_ids")), generation.promptIds(), prompt);
        int certain = certain(reference);
        List<Integer> own = generation.tokenIds();
        assertEquals(
            ids.subList(0, certain), own.subList(0, Math.min(certain, own.size())), prompt);
        double nll = meanNll(model, generation.promptIds());
        assertEquals(reference.get("mean_nll").asDouble(), nll, 5e-4, prompt);
      }
    }
  }

  @Test
  void aRealModelContinuesAsTransformersDoes() throws IOException {
    Path file = TestFiles.require("models/SmolLM2-135M-Instruct.Q4_1.gguf");
    try (WeightSource source = WeightSource.open(file);
        Tokenizer tokenizer = Tokenizer.open(file);
        RoraContext context = RoraContext.open("cpu", 0);
        LlamaModel model = LlamaModel.load(context, source, DataType.F32);
        Generator generator = new Generator(model, tokenizer)) {
      StringBuilder streamed = new StringBuilder();
      Generation generation =
          generator.generate(
              "The capital of France is",
              GenerationOptions.greedy(14),
              piece -> {
                streamed.append(piece);
                return true;
              });
      assertEquals(" Paris.\n\nThe answer is: 2018-", generation.text());
      assertEquals(generation.text(), streamed.toString());
    }
  }

  private static List<JsonNode> cases(String file) throws IOException {
    JsonNode all =
        new ObjectMapper().readTree(TestFiles.require("models/tiny/reference.json").toFile());
    List<JsonNode> cases = new ArrayList<>();
    all.forEach(
        node -> {
          if (node.get("file").asText().equals(file)) {
            cases.add(node);
          }
        });
    return cases;
  }

  /** How many ids come before the first near tie. */
  private static int certain(JsonNode reference) {
    int certain = 0;
    for (JsonNode margin : reference.get("margins")) {
      if (margin.asDouble() < NEAR_TIE) {
        break;
      }
      certain++;
    }
    return certain;
  }

  private static List<Integer> ints(JsonNode array) {
    List<Integer> ints = new ArrayList<>();
    array.forEach(node -> ints.add(node.asInt()));
    return ints;
  }

  private static double meanNll(LlamaModel model, List<Integer> ids) {
    if (ids.size() < 2) {
      return 0;
    }
    try (LlamaPass pass = LlamaPass.create(model, PassOptions.evaluation(ids.size()));
        Batch batch = model.context().batch(ids.size())) {
      DocumentPacker packer = new DocumentPacker(batch);
      packer.clear();
      packer.add(ids.stream().mapToInt(Integer::intValue).toArray(), 1, 0);
      packer.fill();
      return pass.loss(batch, null) / (ids.size() - 1);
    }
  }
}
