package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.adapter.AdapterInit;
import io.rora.adapter.SavedAdapter;
import io.rora.kernels.DataType;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class ResumeTest {
  @TempDir Path temporary;

  static Stream<Arguments> kinds() {
    return Stream.of(
        kind("dora with dropout", b -> b),
        kind("rora, packed otherwise", b -> b.method(Method.RORA).microBatchSize(1)),
        kind("bf16 without shuffling", b -> b.dtype(DataType.BF16).shuffle(false)),
        kind("pissa with decay", b -> b.init(AdapterInit.PISSA).weightDecay(0.1)));
  }

  private static Arguments kind(String name, UnaryOperator<TrainOptions.Builder> change) {
    return Arguments.of(name, change);
  }

  @Test
  void otherKernelsThanTheRunBeganWithAreWarnedOf() throws IOException {
    Path run = temporary.resolve("run");
    TrainOptions options = Runs.small(run).build();
    Trainer.run(options, Runs.cancelAfter(3));
    Path manifest = run.resolve("run.json");
    String text = Files.readString(manifest);
    Files.writeString(manifest, text.replaceFirst("\"isa\" ?: ?\"\\w+\"", "\"isa\": \"other\""));
    List<String> warnings = new ArrayList<>();
    Trainer.run(
        options.resumed(),
        new TrainListener() {
          @Override
          public void onWarning(String message) {
            warnings.add(message);
          }
        });
    assertTrue(warnings.stream().anyMatch(w -> w.contains("other kernels")), warnings.toString());
  }

  @Test
  void resumingElsewhereTouchesNothing() throws IOException {
    Path foreign = temporary.resolve(".download.part");
    Files.writeString(foreign, "somebody's");
    TrainOptions options = Runs.small(temporary).build().resumed();
    assertThrows(IOException.class, () -> Trainer.run(options, TrainListener.none()));
    assertTrue(Files.exists(foreign));
  }

  @ParameterizedTest(name = "{0}")
  @MethodSource("kinds")
  void aCancelledRunEndsWithTheBitsOfAnUnbrokenOne(
      String name, UnaryOperator<TrainOptions.Builder> change) throws IOException {
    Path whole = temporary.resolve("whole");
    Path broken = temporary.resolve("broken");
    Runs.run(change.apply(Runs.small(whole)));
    TrainOptions options = change.apply(Runs.small(broken)).build();
    TrainResult result = Trainer.run(options, Runs.cancelAfter(3));
    assertEquals(TrainResult.Status.CANCELLED, result.status());
    assertEquals(3, result.step());
    byte[] before = Files.readAllBytes(broken.resolve("metrics.jsonl"));
    result = Trainer.run(options.resumed(), TrainListener.none());
    assertEquals(TrainResult.Status.FINISHED, result.status());
    byte[] after = Files.readAllBytes(broken.resolve("metrics.jsonl"));
    assertArrayEquals(before, Arrays.copyOf(after, before.length));
    Runs.assertSame(whole, broken, 6);
  }

  @Test
  void fullFineTuningResumesToTheSameBits() throws IOException {
    UnaryOperator<TrainOptions.Builder> full =
        b -> {
          Golden golden = golden();
          return TrainOptions.builder()
              .model(golden.model())
              .data(golden.rows())
              .evalData(golden.rows())
              .method(Method.FULL)
              .maxSteps(4)
              .batchSize(2)
              .evalSteps(2)
              .saveSteps(1)
              .learningRate(1e-3)
              .threads(1);
        };
    Path whole = temporary.resolve("whole");
    Path broken = temporary.resolve("broken");
    Runs.run(full.apply(null).out(whole));
    TrainOptions options = full.apply(null).out(broken).build();
    Trainer.run(options, Runs.cancelAfter(2));
    assertFalse(Files.exists(broken.resolve("config.json")));
    Trainer.run(options.resumed(), TrainListener.none());
    Runs.assertSame(whole, broken, 4);
    assertTrue(Files.exists(broken.resolve("tokenizer.json")));
  }

  private static Golden golden() {
    try {
      return Golden.load("full");
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  @Test
  void linesBehindTheCheckpointAreCutAndThoseBeforeKept() throws IOException {
    Path run = temporary.resolve("run");
    TrainOptions options = Runs.small(run).build();
    Trainer.run(options, Runs.cancelAfter(4));
    Path metrics = run.resolve("metrics.jsonl");
    byte[] before = Files.readAllBytes(metrics);
    String later = "{\"step\":5,\"loss\":1.0}\n{\"step\":6,\"lo";
    Files.write(metrics, later.getBytes(StandardCharsets.UTF_8), StandardOpenOption.APPEND);
    Trainer.run(options.resumed(), TrainListener.none());
    byte[] after = Files.readAllBytes(metrics);
    assertArrayEquals(before, Arrays.copyOf(after, before.length));
    assertEquals(6 + 2, Runs.metrics(run).size());
  }

  @Test
  void aFinishedRunWritesItsAdapterAgain() throws IOException {
    Path run = temporary.resolve("run");
    Runs.run(Runs.small(run));
    byte[] adapter = Runs.tensors(run);
    Files.delete(run.resolve(SavedAdapter.TENSORS));
    Files.delete(run.resolve("adapter_config.json"));
    TrainResult result = Trainer.run(Runs.small(run).resume(true).build(), TrainListener.none());
    assertEquals(TrainResult.Status.FINISHED, result.status());
    assertArrayEquals(adapter, Runs.tensors(run));
    assertTrue(Files.exists(run.resolve("adapter_config.json")));
  }

  static Stream<Arguments> changes() {
    return Stream.of(
        kind("--lr", b -> b.learningRate(1e-3)),
        kind("--rank", b -> b.rank(4)),
        kind("--method", b -> b.method(Method.RORA)),
        kind("--alpha", b -> b.alpha(7)),
        kind("--dropout", b -> b.dropout(0.2)),
        kind("--seed", b -> b.seed(43)),
        kind("--batch-size", b -> b.batchSize(4)),
        kind("--micro-batch-size", b -> b.microBatchSize(1)),
        kind("--max-steps", b -> b.maxSteps(7)),
        kind("--cutoff-len", b -> b.cutoffLen(97)),
        kind("--target-modules", b -> b.targetModules("q_proj")),
        kind("--no-shuffle", b -> b.shuffle(false)),
        kind("--eval-steps", b -> b.evalSteps(2)),
        kind("--dtype", b -> b.dtype(DataType.BF16)),
        kind("--weight-decay", b -> b.weightDecay(0.1)));
  }

  @Test
  void changedOptionsAreRefusedByName() throws IOException {
    Path run = temporary.resolve("run");
    Trainer.run(Runs.small(run).build(), Runs.cancelAfter(2));
    for (Arguments change : (Iterable<Arguments>) changes()::iterator) {
      String name = (String) change.get()[0];
      @SuppressWarnings("unchecked")
      UnaryOperator<TrainOptions.Builder> changed =
          (UnaryOperator<TrainOptions.Builder>) change.get()[1];
      TrainOptions options = changed.apply(Runs.small(run)).resume(true).build();
      TrainingException e =
          assertThrows(
              TrainingException.class, () -> Trainer.run(options, TrainListener.none()), name);
      assertTrue(e.getMessage().startsWith(name + " "), e.getMessage());
    }
  }

  @Test
  void changedDataIsRefused() throws IOException {
    Path data = temporary.resolve("rows.json");
    Files.copy(Golden.load("rora-cut-off").rows(), data);
    Path run = temporary.resolve("run");
    Trainer.run(Runs.small(run).data(data).build(), Runs.cancelAfter(2));
    Files.writeString(data, "\n", StandardOpenOption.APPEND);
    TrainOptions options = Runs.small(run).data(data).resume(true).build();
    TrainingException e =
        assertThrows(TrainingException.class, () -> Trainer.run(options, TrainListener.none()));
    assertTrue(e.getMessage().startsWith("--data"), e.getMessage());
  }

  @Test
  void threadsAndSavingMayChange() throws IOException {
    Path whole = temporary.resolve("whole");
    Path broken = temporary.resolve("broken");
    Runs.run(Runs.small(whole));
    Trainer.run(Runs.small(broken).build(), Runs.cancelAfter(3));
    Runs.run(Runs.small(broken).threads(2).saveSteps(5).resume(true));
    Runs.assertSame(whole, broken, 6);
  }

  @Test
  void aNonEmptyDirectoryIsRefusedAndLeftAlone() throws IOException {
    Files.writeString(temporary.resolve("thesis.txt"), "precious");
    IOException e = assertThrows(IOException.class, () -> Runs.run(Runs.small(temporary)));
    assertTrue(e.getMessage().contains("not empty"), e.getMessage());
    try (var files = Files.list(temporary)) {
      assertEquals(List.of("thesis.txt"), files.map(f -> f.getFileName().toString()).toList());
    }
  }
}
