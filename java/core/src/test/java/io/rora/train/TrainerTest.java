package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.adapter.AdapterInit;
import io.rora.adapter.AdapterModule;
import io.rora.adapter.SavedAdapter;
import io.rora.config.StrictJson;
import io.rora.files.DurableFiles;
import io.rora.kernels.DataType;
import io.rora.kernels.ScalingRule;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class TrainerTest {
  @TempDir Path temporary;

  private static String refusal(TrainOptions.Builder options) {
    return assertThrows(RuntimeException.class, () -> Runs.run(options)).getMessage();
  }

  @Test
  void aLossThatIsNotFiniteStopsWithStepAndRowsAndKeepsTheLastGoodAdapter() throws IOException {
    Path run = temporary.resolve("run");
    TrainOptions.Builder options =
        Runs.plain(run).method(Method.RORA).learningRate(1e30).warmupSteps(0);
    String message = refusal(options);
    assertTrue(message.startsWith("step 2: the loss is not finite"), message);
    assertTrue(message.contains("rows.json rows "), message);
    try (SavedAdapter saved = SavedAdapter.open(run)) {
      for (AdapterModule module : saved.modules()) {
        saved.loraB(module); // refuses what is not finite
      }
    }
  }

  @Test
  void aBatchWithoutSupervisedTokensTakesItsStepAndWarnsOnce() throws IOException {
    Golden golden = Golden.load("rora-cut-off");
    List<String> warnings = new ArrayList<>();
    List<StepMetrics> steps = new ArrayList<>();
    Trainer.run(
        golden.options(temporary.resolve("run")).build(),
        new TrainListener() {
          @Override
          public void onWarning(String message) {
            warnings.add(message);
          }

          @Override
          public void onStep(StepMetrics step) {
            steps.add(step);
          }
        });
    assertEquals(1, warnings.size(), warnings.toString());
    assertTrue(warnings.get(0).startsWith("step 9 "), warnings.get(0));
    assertEquals(0, steps.get(8).loss());
    assertEquals(0, steps.get(8).gradNorm());
    assertEquals(144, steps.get(8).tokens());
  }

  @Test
  void theBestAdapterIsTheOneOfLowestEvaluationLoss() throws IOException {
    Path run = temporary.resolve("run");
    List<Integer> best = new ArrayList<>();
    // At this rate the loss rises sooner or later.
    Trainer.run(
        Runs.small(run).learningRate(0.8).maxSteps(5).evalSteps(1).saveSteps(1).build(),
        new TrainListener() {
          private final List<Double> losses = new ArrayList<>();

          @Override
          public void onEvaluation(int step, double loss, boolean isBest) {
            assertEquals(losses.stream().allMatch(before -> loss < before), isBest);
            losses.add(loss);
            if (isBest) {
              best.add(step);
            }
          }

          @Override
          public void onCheckpoint(int step, Path checkpoint) {
            boolean isBest = best.get(best.size() - 1) == step;
            try {
              byte[] now = Runs.tensors(checkpoint);
              byte[] lowest = Runs.tensors(run.resolve("best"));
              assertEquals(isBest, Arrays.equals(now, lowest), "step " + step);
            } catch (IOException e) {
              throw new IllegalStateException(e);
            }
          }
        });
    assertTrue(best.size() < 5, "the loss fell at every step: " + best);
  }

  @Test
  void theRunSaysWhatItWasToldAndOnWhat() throws IOException {
    Path run = temporary.resolve("run");
    Runs.run(Runs.small(run).maxSteps(1));
    StrictJson json = StrictJson.read(run.resolve("run.json"));
    StrictJson options = json.object("options");
    assertEquals("dora", options.string("method"));
    assertEquals("lora", options.string("scaling"));
    assertEquals(3, options.integer("rank", 1, 100));
    assertEquals("alpaca", options.string("prompt_template"));
    assertEquals("none", options.string("checkpoint_activations"));
    assertTrue(options.integer("micro_batch_size", 1, 3) >= 1);
    assertEquals(42, json.integer("seed", 0, 100));
    assertEquals(64, json.object("model").string("sha256").length());
    assertEquals(23, json.objects("data").get(0).integer("rows", 0, 100));
    assertEquals(64, json.objects("data").get(0).string("sha256").length());
    assertTrue(json.object("machine").string("isa").length() > 2);
    assertTrue(json.object("versions").has("java"));
  }

  @Test
  void metricsHaveTheDesignsFields() throws IOException {
    Path run = temporary.resolve("run");
    Runs.run(Runs.small(run).maxSteps(1));
    List<String> lines = Files.readAllLines(run.resolve("metrics.jsonl"));
    assertEquals(2, lines.size());
    assertTrue(
        lines
            .get(0)
            .matches(
                "\\{\"step\":1,\"loss\":[^,]+,\"grad_norm\":[^,]+,\"lr\":[^,]+,\"tokens\":\\d+,"
                    + "\"supervised_tokens\":\\d+,\"seconds\":[^,]+,\"tokens_per_second\":[^,]+,"
                    + "\"rss_mib\":[^,]+\\}"),
        lines.get(0));
    assertTrue(lines.get(1).matches("\\{\"step\":1,\"eval_loss\":[^,]+\\}"), lines.get(1));
  }

  @Test
  void epochsBecomeStepsRoundedUp() throws IOException {
    Golden golden = Golden.load("rora-cut-off");
    TrainOptions options =
        TrainOptions.builder()
            .model(golden.model())
            .data(golden.rows())
            .out(temporary.resolve("run"))
            .batchSize(10)
            .epochs(1.5)
            .rank(1)
            .threads(1)
            .build();
    assertEquals(4, Trainer.run(options, TrainListener.none()).steps()); // 34.5 rows
  }

  @Test
  void whatDoesNotFitIntoMemoryIsRefusedWithAdviceAndNothingIsWritten() throws IOException {
    Path root = temporary.resolve("machine");
    Files.createDirectories(root.resolve("proc"));
    Files.writeString(
        root.resolve("proc/meminfo"), "MemTotal: 100000 kB\nMemAvailable: 50000 kB\n");
    Path run = temporary.resolve("run");
    TrainOptions options = Runs.small(run).build();
    TrainingException e =
        assertThrows(
            TrainingException.class,
            () ->
                Trainer.run(options, TrainListener.none(), new DurableFiles(), new Machine(root)));
    assertTrue(e.getMessage().startsWith("not enough memory"), e.getMessage());
    assertTrue(e.getMessage().contains("--cutoff-len"), e.getMessage());
    assertFalse(Files.exists(run));
  }

  @Test
  void anInitialAdapterGivesTheConfigurationAndOptionsMayOnlyRepeatIt() throws IOException {
    Golden golden = Golden.load("dora-rora-patterns");
    Path init = golden.folder().resolve("init");
    Path run = temporary.resolve("run");
    TrainOptions.Builder base =
        TrainOptions.builder()
            .model(golden.model())
            .data(golden.rows())
            .out(run)
            .maxSteps(1)
            .batchSize(2)
            .threads(1)
            .initAdapter(init);
    for (String said : List.of("--rank", "--alpha", "--method", "--target-modules")) {
      TrainOptions.Builder options = Runs.small(run).initAdapter(init);
      options.rank(4).alpha(8).method(Method.DORA).scaling(ScalingRule.RORA);
      switch (said) {
        case "--rank" -> options.rank(5);
        case "--alpha" -> options.alpha(9);
        case "--method" -> options.method(Method.LORA);
        default -> options.targetModules("q_proj");
      }
      String message = refusal(options);
      assertTrue(message.startsWith(said) || said.equals("--method"), message);
    }
    assertFalse(Files.exists(run));
    Runs.run(base);
    try (SavedAdapter before = SavedAdapter.open(init);
        SavedAdapter after = SavedAdapter.open(run)) {
      assertEquals(before.modules(), after.modules());
      assertTrue(after.config().dora());
    }
  }

  @Test
  void unknownTargetsAreRefusedByName() throws IOException {
    String message = refusal(Runs.small(temporary.resolve("run")).targetModules("q_proj", "wq"));
    assertTrue(message.contains("wq"), message);
  }

  @Test
  void aModulesStartDoesNotDependOnTheOthers() throws IOException {
    float[] alone = startOf("q_proj");
    assertArrayEquals(alone, startOf("up_proj", "q_proj"));
    assertNotEquals(0, alone[0]);
    double bound = 1 / Math.sqrt(32);
    for (float value : alone) {
      assertTrue(Math.abs(value) <= bound + 1e-3, value + " is beyond the Kaiming bound");
    }
  }

  private float[] startOf(String... targets) throws IOException {
    Path run = temporary.resolve(String.join("-", targets));
    // A step whose rate is next to nothing shows where it started.
    Runs.run(Runs.plain(run).targetModules(targets).learningRate(1e-30).warmupSteps(0).maxSteps(1));
    try (SavedAdapter saved = SavedAdapter.open(run)) {
      return saved.loraA(
          saved.modules().stream().filter(m -> m.path().endsWith("q_proj")).findFirst().get());
    }
  }

  @Test
  void weightDecayLeavesPissasFrozenHalfAlone() throws IOException {
    Path run = temporary.resolve("run");
    Runs.run(
        Runs.small(run)
            .method(Method.RORA)
            .init(AdapterInit.PISSA)
            .weightDecay(0.5)
            .rankPattern(Map.of("up_proj", 2)));
    Path start = temporary.resolve("start");
    Runs.run(
        Runs.small(start)
            .method(Method.RORA)
            .init(AdapterInit.PISSA)
            .rankPattern(Map.of("up_proj", 2))
            .learningRate(1e-30)
            .maxSteps(1));
    try (SavedAdapter trained = SavedAdapter.open(run);
        SavedAdapter initial = SavedAdapter.open(start)) {
      for (AdapterModule module : trained.modules()) {
        assertEquals(module.path().endsWith("up_proj") ? 4 : 6, module.rank());
        assertFrozen(module, initial.loraA(module), trained.loraA(module), true);
        assertFrozen(module, initial.loraB(module), trained.loraB(module), false);
      }
    }
  }

  private static void assertFrozen(
      AdapterModule module, float[] before, float[] after, boolean isA) {
    int half = module.rank() / 2;
    boolean changed = false;
    for (int i = 0; i < before.length; i++) {
      boolean frozen = isA ? i >= before.length / 2 : i % module.rank() >= half;
      if (frozen) {
        assertEquals(before[i], after[i], module.path() + " element " + i);
      }
      changed |= before[i] != after[i];
    }
    assertTrue(changed, module.path() + " was not trained at all");
  }

  @Test
  void dropoutDoesNotDependOnHowABatchIsCut() throws IOException {
    List<StepMetrics> whole = metrics(Runs.small(temporary.resolve("a")).microBatchSize(3));
    List<StepMetrics> cut =
        metrics(Runs.small(temporary.resolve("b")).microBatchSize(1).packing(false));
    List<StepMetrics> without = metrics(Runs.small(temporary.resolve("c")).dropout(0));
    for (int i = 0; i < whole.size(); i++) {
      assertEquals(whole.get(i).loss(), cut.get(i).loss(), 2e-5, "step " + (i + 1));
    }
    assertNotEquals(whole.get(3).gradNorm(), without.get(3).gradNorm(), 1e-4);
  }

  private static List<StepMetrics> metrics(TrainOptions.Builder options) throws IOException {
    return GoldenParityTest.train(options.build());
  }

  @Test
  void aRowBeyondTheModelsContextIsRefused() throws IOException {
    Golden golden = Golden.load("rora-cut-off");
    Path data = temporary.resolve("long.jsonl");
    Files.writeString(data, "{\"text\": \"" + "a b c d e f g ".repeat(300) + "\"}\n");
    TrainOptions.Builder options =
        TrainOptions.builder()
            .model(golden.model())
            .data(data)
            .out(temporary.resolve("run"))
            .cutoffLen(5000)
            .dtype(DataType.F32);
    String message = refusal(options);
    assertTrue(message.contains("--cutoff-len"), message);
  }
}
