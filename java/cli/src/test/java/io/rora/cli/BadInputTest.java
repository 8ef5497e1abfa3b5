package io.rora.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.rora.files.DurableFiles;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.TestFactory;
import org.junit.jupiter.api.io.TempDir;

/**
 * What users get to see of broken files: one line that names the file, exit code 1, and nothing
 * lost.
 */
class BadInputTest {
  @TempDir Path folder;
  private TinyWorld world;

  @BeforeEach
  void makeWorld() throws IOException {
    world = TinyWorld.in(folder);
  }

  /** Breaks something in a world. */
  private interface Damage {
    void to(TinyWorld world) throws IOException;
  }

  private record Case(String name, Damage damage, String says) {}

  private static Path weights(TinyWorld world) {
    return world.model.resolve("model.safetensors");
  }

  private static void truncate(Path file, long bytes) throws IOException {
    byte[] all = Files.readAllBytes(file);
    Files.write(file, Arrays.copyOf(all, (int) (bytes < 0 ? all.length + bytes : bytes)));
  }

  private static void patch(Path file, int at, int... bytes) throws IOException {
    byte[] all = Files.readAllBytes(file);
    for (int i = 0; i < bytes.length; i++) {
      all[at + i] = (byte) bytes[i];
    }
    Files.write(file, all);
  }

  private static void replace(Path file, String from, String to) throws IOException {
    String text = Files.readString(file, StandardCharsets.ISO_8859_1);
    assertTrue(text.contains(from), file + " has no " + from);
    Files.writeString(file, text.replace(from, to), StandardCharsets.ISO_8859_1);
  }

  /** Overwrites the last value of the file, of a bfloat16 tensor. */
  private static void lastValue(Path file, int bits) throws IOException {
    int size = (int) Files.size(file);
    patch(file, size - 2, bits & 0xFF, bits >> 8);
  }

  private static Path config(TinyWorld world) {
    return world.model.resolve("config.json");
  }

  private static final List<Case> BROKEN_MODELS =
      List.of(
          new Case("no such model", w -> delete(w.model), "model"),
          new Case("empty weights", w -> truncate(weights(w), 0), "model.safetensors"),
          new Case("header cut short", w -> truncate(weights(w), 100), "model.safetensors"),
          new Case("data cut short", w -> truncate(weights(w), -1), "model.safetensors"),
          new Case(
              "hostile header length",
              w -> patch(weights(w), 0, 255, 255, 255, 255, 255, 255, 255, 127),
              "model.safetensors"),
          new Case("header no JSON", w -> patch(weights(w), 8, 'x', 'x'), "model.safetensors"),
          new Case(
              "overlapping tensors",
              w -> replace(weights(w), "\"data_offsets\":[0,", "\"data_offsets\":[2,"),
              "model.safetensors"),
          new Case("NaN", w -> lastValue(weights(w), 0x7FC0), "NaN"),
          new Case("infinity", w -> lastValue(weights(w), 0xFF80), "nfinit"),
          new Case(
              "wrong shape",
              w -> replace(config(w), "\"vocab_size\": 1024", "\"vocab_size\": 1025"),
              "1025"),
          new Case(
              "missing tensor",
              w -> replace(weights(w), "model.norm.weight", "model.morn.weight"),
              "model.norm.weight"),
          new Case(
              "unsupported architecture",
              w -> replace(config(w), "LlamaForCausalLM", "GemmaForCausalLM"),
              "GemmaForCausalLM"),
          new Case("configuration no JSON", w -> Files.writeString(config(w), "{"), "config.json"),
          new Case("configuration empty", w -> Files.writeString(config(w), ""), "config.json"),
          new Case(
              "hostile configuration",
              w -> replace(config(w), "\"hidden_size\": 128", "\"hidden_size\": 2000000000"),
              "config.json"),
          new Case("no configuration", w -> delete(config(w)), "config.json"),
          new Case(
              "no tokenizer", w -> delete(w.model.resolve("tokenizer.json")), "tokenizer.json"),
          new Case(
              "broken tokenizer",
              w -> truncate(w.model.resolve("tokenizer.json"), 1000),
              "tokenizer.json"),
          new Case("no weights", w -> delete(weights(w)), "safetensors"),
          new Case(
              "index names a missing shard",
              w -> {
                delete(weights(w));
                Files.writeString(
                    w.model.resolve("model.safetensors.index.json"),
                    "{\"weight_map\": {\"lm_head.weight\": \"model-00001-of-00002.safetensors\"}}");
              },
              "model"),
          new Case(
              "index leads out of the directory",
              w -> {
                delete(weights(w));
                Files.writeString(
                    w.model.resolve("model.safetensors.index.json"),
                    "{\"weight_map\": {\"lm_head.weight\": \"../../etc/passwd\"}}");
              },
              "index.json"),
          new Case(
              "index no JSON",
              w -> {
                delete(weights(w));
                Files.writeString(w.model.resolve("model.safetensors.index.json"), "[1");
              },
              "index.json"));

  private static void delete(Path path) throws IOException {
    new DurableFiles().deleteTree(path);
  }

  /** Every command that opens a model refuses a broken one, and writes nothing. */
  @TestFactory
  Stream<DynamicTest> brokenModels() {
    return BROKEN_MODELS.stream().map(c -> DynamicTest.dynamicTest(c.name, () -> refuses(c)));
  }

  private void refuses(Case broken) throws IOException {
    TinyWorld w = TinyWorld.in(Files.createTempDirectory(folder, "case"));
    broken.damage.to(w);
    Path out = w.folder.resolve("out");
    List<Cli.Result> results = new ArrayList<>();
    results.add(w.train(out));
    results.add(Cli.run("generate", "--model", w.model, "--prompt", "The bed of"));
    results.add(
        Cli.run("eval", "--model", w.model, "--data", w.rows, "--task", "cloze", "--threads", 1));
    for (Cli.Result result : results) {
      assertTrue(result.expect(1).error().contains(broken.says), result.error());
      assertEquals("", result.out());
    }
    assertFalse(Files.exists(out), "bad input leaves no run behind");
  }

  @Test
  void damagedGgufFilesAreRefused() throws IOException {
    Path file = folder.resolve("m.gguf");
    ByteBuffer header = ByteBuffer.allocate(24).order(ByteOrder.LITTLE_ENDIAN);
    List<byte[]> damaged = new ArrayList<>();
    damaged.add(new byte[0]);
    damaged.add("GGUF".getBytes(StandardCharsets.US_ASCII));
    damaged.add(new byte[4096]);
    for (long tensors : new long[] {0, 1, Long.MAX_VALUE, -1}) {
      header.clear();
      header.put("GGUF".getBytes(StandardCharsets.US_ASCII)).putInt(3).putLong(tensors);
      damaged.add(header.putLong(tensors).array().clone());
    }
    for (byte[] bytes : damaged) {
      Files.write(file, bytes);
      for (Cli.Result result :
          List.of(
              Cli.run("inspect", file),
              Cli.run("generate", "--model", file, "--prompt", "x"),
              Cli.run("merge", "--model", file, "--adapter", file, "--out", folder.resolve("o")))) {
        assertTrue(result.expect(1).error().contains("m.gguf"), result.error());
      }
    }
  }

  @Test
  void brokenRowsAreNamedByFileAndNumber() throws IOException {
    Path out = folder.resolve("out");
    for (String[] rowAndWords :
        new String[][] {
          {"{\"instruction\": 5}", "row 9"},
          {"{\"text\": \"other kind\"}", "row 9"},
          {"{\"instruction\": \"a\", \"output\": \"b\"", "row 9"},
          {"{\"instruction\": \"no options\", \"output\": \"x\"}", "row 9"},
          {"[]", "row 9"},
        }) {
      Path rows = folder.resolve("broken.jsonl");
      Files.writeString(rows, Files.readString(world.rows) + "\n" + rowAndWords[0] + "\n");
      Cli.Result result =
          Cli.run(
              "train",
              "--model",
              world.model,
              "--data",
              rows,
              "--out",
              out,
              "--prompt-template",
              "cloze");
      assertTrue(
          result.expect(1).error().contains("broken.jsonl: " + rowAndWords[1]), result.err());
      assertFalse(Files.exists(out));
    }
    Files.writeString(world.rows, "");
    assertTrue(world.train(out).expect(1).error().contains("rows.jsonl"));
    Files.write(world.rows, new byte[] {'{', '"', (byte) 0xFF, '"'});
    assertTrue(world.train(out).expect(1).error().contains("rows.jsonl"));
    assertTrue(
        Cli.run("train", "--model", world.model, "--data", "absent.json", "--out", out)
            .expect(1)
            .error()
            .contains("absent.json"));
  }

  @Test
  void adaptersThatDoNotFitAreRefusedByName() throws IOException {
    Path run = folder.resolve("run");
    world.train(run).expect(0);
    Path configFile = run.resolve("adapter_config.json");
    String good = Files.readString(configFile);
    String[][] changes = {
      {"\"r\": 4", "\"r\": 8", "lora"},
      {"\"use_dora\": false", "\"use_dora\": true", "magnitude"},
      {"\"bias\": \"none\"", "\"bias\": \"all\"", "bias"},
      {"\"peft_type\": \"LORA\"", "\"peft_type\": \"IA3\"", "peft_type"},
      {"\"r\": 4", "\"r\": \"4\"", "r"},
      {"\"fan_in_fan_out\": false", "\"fan_in_fan_out\": true", "fan_in_fan_out"},
    };
    for (String[] change : changes) {
      assertTrue(good.contains(change[0]), change[0] + " in " + good);
      Files.writeString(configFile, good.replace(change[0], change[1]));
      for (Cli.Result result : withAdapter(run)) {
        assertTrue(result.expect(1).error().contains(change[2]), result.error());
      }
    }
    Files.writeString(configFile, good);
    truncate(run.resolve("adapter_model.safetensors"), -4);
    for (Cli.Result result : withAdapter(run)) {
      assertTrue(result.expect(1).error().contains("adapter_model.safetensors"), result.error());
    }
    for (Cli.Result result : withAdapter(folder.resolve("absent"))) {
      assertTrue(result.expect(1).error().contains("absent"), result.error());
    }
  }

  private List<Cli.Result> withAdapter(Path adapter) {
    Path out = folder.resolve("merged");
    List<Cli.Result> results =
        List.of(
            Cli.run("generate", "--model", world.model, "--adapter", adapter, "--prompt", "x"),
            Cli.run("merge", "--model", world.model, "--adapter", adapter, "--out", out),
            Cli.run(
                "train",
                "--model",
                world.model,
                "--data",
                world.rows,
                "--out",
                out,
                "--init-adapter",
                adapter));
    for (String name : new String[] {"adapter_model.safetensors", "model.safetensors"}) {
      assertFalse(Files.exists(out.resolve(name)), name + " was written");
    }
    return results;
  }

  @Test
  void anAdapterOfAnotherModelIsRefused() throws IOException {
    Path run = folder.resolve("run");
    world.train(run).expect(0);
    Path tensors = run.resolve("adapter_model.safetensors");
    replace(tensors, "layers.3.", "layers.7.");
    for (Cli.Result result : withAdapter(run)) {
      assertTrue(result.expect(1).error().contains("another model"), result.error());
    }
  }

  @Test
  void anAdapterWithNaNIsRefused() throws IOException {
    Path run = folder.resolve("run");
    world.train(run).expect(0);
    Path tensors = run.resolve("adapter_model.safetensors");
    patch(tensors, (int) Files.size(tensors) - 4, 0, 0, 0xC0, 0x7F);
    for (Cli.Result result : withAdapter(run)) {
      assertTrue(result.expect(1).error().contains("NaN"), result.error());
    }
  }

  @Test
  void outputPlacesThatCannotBeWrittenAreNamed() throws IOException {
    Path file = Files.writeString(folder.resolve("file"), "precious");
    Path run = folder.resolve("run");
    world.train(run).expect(0);
    for (Path out : List.of(file, file.resolve("below"))) {
      assertTrue(world.train(out).expect(1).error().contains("file"), out.toString());
      assertTrue(
          Cli.run("merge", "--model", world.model, "--adapter", run, "--out", out)
              .expect(1)
              .error()
              .contains("file"));
    }
    assertTrue(
        Cli.run(
                "eval",
                "--model",
                world.model,
                "--data",
                world.rows,
                "--task",
                "cloze",
                "--json",
                file.resolve("below"))
            .expect(1)
            .error()
            .contains("file"));
    assertEquals("precious", Files.readString(file));
  }

  @Test
  void aReadOnlyDirectoryIsNamed() throws IOException {
    Path locked = Files.createDirectory(folder.resolve("locked"));
    assumeFalse(!locked.toFile().setWritable(false), "this file system has no modes");
    assumeFalse(Files.isWritable(locked), "this user may write everywhere");
    assertTrue(world.train(locked.resolve("run")).expect(1).error().contains("locked"));
    assertTrue(locked.toFile().setWritable(true));
  }

  @Test
  void placesWhereNobodyMayWriteAreNamed() {
    Path sys = Path.of("/sys/rora-test"); // not even root may make a directory there
    assumeTrue(Files.isDirectory(sys.getParent()), "this system has no /sys");
    assertTrue(world.train(sys).expect(1).error().contains("/sys"));
    assertTrue(
        Cli.run("quickstart", "--out", sys.resolve("qs")).expect(1).error().contains("/sys"));
  }

  @Test
  void somebodyElsesFilesInTheRunsPlaceStay() throws IOException {
    Path out = Files.createDirectory(folder.resolve("out"));
    Path precious = Files.writeString(out.resolve("precious.txt"), "mine");
    assertTrue(world.train(out).expect(1).error().contains("not empty"));
    assertTrue(world.train(out, "--resume").expect(1).error().contains("run.json"));
    assertEquals("mine", Files.readString(precious));
    assertEquals(1, out.toFile().list().length);
  }

  @Test
  void devicesThatCannotBeUsedSayWhy() {
    for (String device : new String[] {"cuda", "cuda:7"}) {
      Cli.Result result = world.train(folder.resolve("out"), "--device", device);
      assumeFalse(result.code() == 0, "this machine has that GPU");
      assertTrue(result.expect(1).error().contains("cuda"), result.error());
    }
  }

  @Test
  void aPromptLongerThanTheContextIsRefused() {
    Cli.Result result =
        Cli.run("generate", "--model", world.model, "--prompt", "The bed of ".repeat(200));
    assertTrue(result.expect(1).error().contains("context of 256"), result.error());
    assertTrue(world.train(folder.resolve("o"), "--init-adapter", world.model).code() == 1);
  }
}
