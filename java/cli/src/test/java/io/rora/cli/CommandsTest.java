package io.rora.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.rora.files.DurableFiles;
import io.rora.safetensors.SafetensorsType;
import io.rora.safetensors.SafetensorsWriter;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Every command once on the built-in model, by what it prints and writes. */
class CommandsTest {
  @TempDir static Path folder;

  private static final ObjectMapper JSON = new ObjectMapper();
  private static TinyWorld world;
  private static Path run;
  private static Cli.Result trained;

  @BeforeAll
  static void train() throws IOException {
    world = TinyWorld.in(folder);
    run = folder.resolve("run");
    trained = world.train(run, "--eval-data", world.rows, "--eval-steps", 1);
    trained.expect(0);
  }

  @Test
  void trainPrintsTheResultAndKeepsProgressApart() {
    assertTrue(trained.out().startsWith("steps     2 of 2\nloss      "), trained.out());
    assertTrue(trained.out().contains("best      "), trained.out());
    assertTrue(trained.out().contains("rora generate --model"), trained.out());
    assertTrue(trained.err().contains("train: step 2/2: loss "), trained.err());
    assertTrue(trained.err().contains("evaluation loss"), trained.err());
    assertFalse(trained.err().contains("\u001b"), "plain lines where there is no terminal");
  }

  @Test
  void aRunThatIsThereIsNotOverwritten() throws IOException {
    byte[] before = Files.readAllBytes(run.resolve("adapter_model.safetensors"));
    assertTrue(world.train(run).expect(1).error().contains("--resume"));
    assertEquals(
        new String(before, StandardCharsets.ISO_8859_1),
        new String(
            Files.readAllBytes(run.resolve("adapter_model.safetensors")),
            StandardCharsets.ISO_8859_1));
  }

  @Test
  void aFinishedRunResumesToItsEndAndOtherOptionsAreRefused() {
    Object[] same = {"--resume", "--eval-data", world.rows, "--eval-steps", 1};
    assertTrue(world.train(run, same).expect(0).out().contains("steps     2 of 2"));
    assertTrue(
        world
            .train(run, "--resume", "--eval-data", world.rows, "--eval-steps", 1, "--lr", "1e-5")
            .expect(1)
            .error()
            .contains("--lr was"));
  }

  private JsonNode eval(String task, Object... more) throws IOException {
    Path file = folder.resolve(task + ".json");
    Object[] words = {
      "eval",
      "--model",
      world.model,
      "--adapter",
      run,
      "--data",
      world.rows,
      "--task",
      task,
      "--json",
      file,
      "--dtype",
      "fp32"
    };
    Object[] all = Arrays.copyOf(words, words.length + more.length);
    System.arraycopy(more, 0, all, words.length, more.length);
    Cli.Result result = Cli.run(all).expect(0);
    assertTrue(result.out().startsWith("task"), result.out());
    assertEquals(2, result.out().lines().count(), result.out());
    return JSON.readTree(file.toFile());
  }

  @Test
  void evalScoresLabelsAndTextsInTheOrderOfTheLabels() throws IOException {
    for (String task : new String[] {"choice", "cloze"}) {
      JsonNode json = eval(task);
      assertEquals(task, json.get("task").asText());
      assertEquals(8, json.get("n").asInt());
      assertEquals(0, json.get("unparsable").asInt());
      assertEquals(8, json.get("predictions").size());
      JsonNode first = json.get("predictions").get(0);
      assertEquals("answer1", first.get("answer").asText());
      assertEquals("{\"answer1\":", first.get("scores").toString().substring(0, 11));
      assertEquals(2, first.get("scores").size());
      assertTrue(first.get("prediction").asText().startsWith("answer"));
    }
  }

  @Test
  void evalGeneratesWithBeamsAndLimits() throws IOException {
    JsonNode json = eval("generate", "--num-beams", 2, "--limit", 3);
    assertEquals(3, json.get("n").asInt());
    assertTrue(json.has("accuracy") && json.has("unparsable"));
    assertEquals(3, json.get("predictions").size());
  }

  @Test
  void perplexityTakesTheTemplateFromTheAdaptersRun() throws IOException {
    JsonNode cloze = eval("perplexity");
    assertEquals(List.of("task", "n", "mean_nll", "perplexity", "tokens"), names(cloze));
    assertEquals(
        Math.exp(cloze.get("mean_nll").asDouble()), cloze.get("perplexity").asDouble(), 1e-9);
    JsonNode alpaca = eval("perplexity", "--prompt-template", "alpaca");
    assertTrue(alpaca.get("tokens").asInt() > cloze.get("tokens").asInt());
    Path best = folder.resolve("best.json");
    Cli.run(
            "eval",
            "--model",
            world.model,
            "--adapter",
            run.resolve("best"),
            "--data",
            world.rows,
            "--task",
            "perplexity",
            "--json",
            best)
        .expect(0);
    assertEquals(cloze.get("tokens"), JSON.readTree(best.toFile()).get("tokens"));
  }

  private static List<String> names(JsonNode json) {
    List<String> names = new ArrayList<>();
    json.fieldNames().forEachRemaining(names::add);
    return names;
  }

  @Test
  void generateStreamsTheTextOrPrintsJson() throws IOException {
    Object[] words = {
      "generate",
      "--model",
      world.model,
      "--prompt",
      "The bed of",
      "--max-new-tokens",
      5,
      "--dtype",
      "fp32"
    };
    Cli.Result result = Cli.run(words).expect(0);
    String text = result.out();
    String speeds =
        "(?s).*generate: prompt \\d+ tokens in \\S+ s .*, \\d tokens in .* tokens/s\\)\n";
    assertTrue(result.err().matches(speeds), result.err());
    Object[] asJson = Arrays.copyOf(words, words.length + 1);
    asJson[words.length] = "--json";
    JsonNode json = JSON.readTree(Cli.run(asJson).expect(0).out());
    assertEquals(List.of("prompt_ids", "token_ids", "text"), names(json));
    assertEquals(text, json.get("text").asText() + "\n");
    assertTrue(json.get("token_ids").size() <= 5);
  }

  @Test
  void mergedModelSaysWhatBaseAndAdapterSay() throws IOException {
    Path merged = folder.resolve("merged");
    Cli.run("merge", "--model", world.model, "--adapter", run, "--out", merged, "--dtype", "fp32")
        .expect(0);
    Object[] tail = {"--data", world.rows, "--task", "cloze", "--dtype", "fp32", "--json"};
    Path a = folder.resolve("a.json");
    Path b = folder.resolve("b.json");
    Cli.run(
            "eval",
            "--model",
            world.model,
            "--adapter",
            run,
            tail[0],
            tail[1],
            tail[2],
            tail[3],
            tail[4],
            tail[5],
            tail[6],
            a)
        .expect(0);
    Cli.run(
            "eval", "--model", merged, tail[0], tail[1], tail[2], tail[3], tail[4], tail[5],
            tail[6], b)
        .expect(0);
    JsonNode apart = JSON.readTree(a.toFile()).get("predictions");
    JsonNode together = JSON.readTree(b.toFile()).get("predictions");
    for (int i = 0; i < apart.size(); i++) {
      for (String label : new String[] {"answer1", "answer2"}) {
        assertEquals(
            apart.get(i).get("scores").get(label).asDouble(),
            together.get(i).get("scores").get(label).asDouble(),
            1e-4);
      }
    }
    assertTrue(
        Cli.run("merge", "--model", world.model, "--adapter", run, "--out", merged)
            .expect(1)
            .error()
            .contains("not empty"));
  }

  @Test
  void inspectShowsModelsAdaptersRunsAndFiles() throws IOException {
    JsonNode model = JSON.readTree(Cli.run("inspect", world.model, "--json").expect(0).out());
    assertEquals("model", model.get("kind").asText());
    assertEquals(128, model.get("config").get("hidden_size").asInt());
    assertEquals(39, model.get("tensors").size());
    assertEquals(0, model.get("sparsity").asDouble(), 0.01);
    JsonNode adapter = JSON.readTree(Cli.run("inspect", run, "--json").expect(0).out());
    assertEquals("run", adapter.get("kind").asText());
    assertEquals(2, adapter.get("last_step").asInt());
    JsonNode module = adapter.get("modules").get(0);
    assertEquals(4, module.get("r").asInt());
    assertEquals(8, module.get("alpha").asDouble());
    assertEquals(4, module.get("gamma").asDouble(), 1e-9); // 8 / sqrt(4)
    assertEquals(20, adapter.get("modules").size());
    String text = Cli.run("inspect", run.resolve("best")).expect(0).out();
    assertTrue(text.contains("model.layers.0.self_attn.q_proj"), text);
    assertTrue(text.contains("4.0000"), text);
    String file = Cli.run("inspect", world.model.resolve("model.safetensors")).expect(0).out();
    assertTrue(file.contains("BF16") && file.contains("lm_head.weight"), file);
  }

  @Test
  void inspectCountsZeros() throws IOException {
    Path file = folder.resolve("zeros.safetensors");
    var floats = new SafetensorsWriter.Tensor("a", SafetensorsType.F32, List.of(2L, 3L));
    var halves = new SafetensorsWriter.Tensor("b", SafetensorsType.BF16, List.of(4L));
    new DurableFiles()
        .write(
            file,
            SafetensorsWriter.body(
                Map.of(),
                List.of(floats, halves),
                (tensor, out) -> {
                  float[] values = {0, 1, -0f, Float.MIN_VALUE, 0, 2};
                  out.writeFloats(values, 0, tensor.equals(floats) ? 6 : 3);
                  if (tensor.equals(halves)) {
                    out.writeFloats(new float[] {3}, 0, 1);
                  }
                }));
    JsonNode json = JSON.readTree(Cli.run("inspect", file, "--json").expect(0).out());
    assertEquals(3, json.get("tensors").get(0).get("zeros").asInt());
    assertEquals(2, json.get("tensors").get(1).get("zeros").asInt());
    assertEquals(0.5, json.get("sparsity").asDouble());
    assertTrue(Cli.run("inspect", file).expect(0).out().contains("50.0 % zeros"));
  }

  @Test
  void fullFineTuningWritesAModelThatTheOtherCommandsTake() throws IOException {
    Path full = folder.resolve("full");
    Cli.run(
            "train",
            "--model",
            world.model,
            "--data",
            world.rows,
            "--out",
            full,
            "--method",
            "full",
            "--max-steps",
            1,
            "--lr",
            "1e-5",
            "--prompt-template",
            "cloze")
        .expect(0);
    Cli.run("generate", "--model", full, "--prompt", "The bed of", "--max-new-tokens", 2).expect(0);
    assertTrue(
        Cli.run(
                "eval",
                "--model",
                world.model,
                "--adapter",
                full,
                "--data",
                world.rows,
                "--task",
                "cloze")
            .expect(1)
            .error()
            .contains("--model"));
  }

  @Test
  void infoNamesKernelsAndSaysWhyThereIsNoGpu() {
    Cli.Result info = Cli.run("info").expect(0);
    for (String name :
        new String[] {"rora", "cpu features", "kernels", "threads", "memory", "gpus"}) {
      assertTrue(info.out().contains("\n" + name) || info.out().startsWith(name), info.out());
    }
  }
}
