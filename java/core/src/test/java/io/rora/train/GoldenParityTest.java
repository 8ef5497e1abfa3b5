package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import io.rora.adapter.AdapterSet;
import io.rora.adapter.SavedAdapter;
import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import io.rora.model.DecoderOptions;
import io.rora.model.LlamaDecoder;
import io.rora.model.LlamaModel;
import io.rora.model.WeightSource;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The same start, rows and hyperparameters give what PyTorch and PEFT gave. */
class GoldenParityTest {
  private static final double LOGITS = 1e-3;

  @TempDir Path temporary;

  @ParameterizedTest
  @ValueSource(
      strings = {
        "rora-llama3-tied",
        "lora-linear-bias",
        "dora",
        "dora-rora-patterns",
        "rora-patterns-plus",
        "rora-cut-off",
        "pissa",
        "full"
      })
  void everyStepEqualsPeftInFp32(String name) throws Exception {
    Golden golden = Golden.load(name);
    golden.requireFiles();
    Path run = temporary.resolve("run");
    List<StepMetrics> steps = train(golden.options(run).build());
    assertSteps(golden, steps, 1e-4, 1e-3);
    if (golden.hasInit()) {
      assertLogits(golden, golden.folder().resolve("init"), "logits_before", LOGITS);
    }
    assertLogits(golden, run, "logits_after", LOGITS);
  }

  @ParameterizedTest
  @ValueSource(strings = {"rora-bf16"})
  void everyLossIsNearPeftInBf16(String name) throws Exception {
    Golden golden = Golden.load(name);
    golden.requireFiles();
    assertSteps(golden, train(golden.options(temporary.resolve("run")).build()), 2e-2, 0.15);
  }

  // However a batch is cut and whatever is recomputed, it is the same batch.
  @ParameterizedTest
  @ValueSource(ints = {1, 3})
  void microBatchesDoNotChangeTheLoss(int microBatchSize) throws Exception {
    Golden golden = Golden.load("dora-rora-patterns");
    for (boolean packing : new boolean[] {true, false}) {
      TrainOptions options =
          golden
              .options(temporary.resolve("run-" + packing))
              .microBatchSize(microBatchSize)
              .packing(packing)
              .checkpointActivations(
                  packing ? ActivationCheckpointing.LAYER : ActivationCheckpointing.MLP)
              .build();
      assertSteps(golden, train(options), 1e-4, 1e-3);
    }
  }

  static List<StepMetrics> train(TrainOptions options) throws IOException {
    List<StepMetrics> steps = new ArrayList<>();
    Trainer.run(
        options,
        new TrainListener() {
          @Override
          public void onStep(StepMetrics step) {
            steps.add(step);
          }
        });
    return steps;
  }

  private static void assertSteps(
      Golden golden, List<StepMetrics> steps, double lossBound, double normBound) {
    assertEquals(golden.json().get("steps").size(), steps.size());
    for (StepMetrics step : steps) {
      JsonNode expected = golden.step(step.step());
      String at = "step " + step.step();
      double norm = expected.get("grad_norm").doubleValue();
      assertEquals(expected.get("loss").doubleValue(), step.loss(), lossBound, at + " loss");
      assertEquals(norm, step.gradNorm(), normBound * norm, at + " grad_norm");
      assertEquals(expected.get("lr").doubleValue(), step.learningRate(), 1e-12, at + " lr");
      assertEquals(expected.get("tokens").longValue(), step.tokens(), at + " tokens");
      assertEquals(expected.get("supervised_tokens").longValue(), step.supervisedTokens(), at);
    }
  }

  private static void assertLogits(Golden golden, Path adapter, String name, double bound)
      throws IOException {
    Path model = golden.full() ? adapter : golden.model();
    try (RoraContext context = RoraContext.open("cpu", 2);
        WeightSource source = WeightSource.open(model);
        LlamaModel llama = LlamaModel.load(context, source, DataType.F32)) {
      if (golden.full()) {
        assertLogits(golden, llama, null, name, bound);
        return;
      }
      try (SavedAdapter saved = SavedAdapter.open(adapter);
          AdapterSet set = AdapterSet.load(llama, saved)) {
        assertLogits(golden, llama, set, name, bound);
      }
    }
  }

  private static void assertLogits(
      Golden golden, LlamaModel model, AdapterSet set, String name, double bound) {
    int[] ids = golden.firstIds();
    JsonNode positions = golden.json().get("positions");
    Map<String, Integer> ranks = set == null ? Map.of() : set.ranks();
    for (int p = 0; p < positions.size(); p++) {
      int length = positions.get(p).intValue() + 1;
      float[] logits = new float[model.config().vocabSize()];
      try (LlamaDecoder decoder =
          LlamaDecoder.create(model, new DecoderOptions(1, length, ranks))) {
        if (set != null) {
          set.attach(decoder);
        }
        decoder.prompt(0, Arrays.copyOf(ids, length), logits);
      }
      JsonNode expected = golden.json().get(name).get(p);
      for (int i = 0; i < logits.length; i++) {
        double difference = Math.abs(expected.get(i).doubleValue() - logits[i]);
        assertTrue(
            difference <= bound,
            name
                + " of token "
                + (length - 1)
                + ", id "
                + i
                + ": "
                + logits[i]
                + ", expected "
                + expected.get(i)
                + " within "
                + bound);
      }
    }
  }
}
