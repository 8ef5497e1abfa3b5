package io.rora.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What only a process of its own can show: locales, signals, limits, exit codes. */
class ProcessTest {
  private static final long PATIENCE_SECONDS = 120;

  @TempDir Path folder;
  private TinyWorld world;

  @BeforeEach
  void makeWorld() throws IOException {
    assumeTrue(Files.isExecutable(Path.of("/bin/sh")), "there is no /bin/sh");
    world = TinyWorld.in(folder);
    // Whatever is unpacked at first use is there before a limit forbids it.
    world.train(folder.resolve("unpacked")).expect(0);
  }

  private static List<String> java(String... jvm) {
    List<String> command = new ArrayList<>();
    command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
    command.addAll(List.of("-Xmx512m", "-XX:-UsePerfData"));
    String cache = System.getProperty("org.bytedeco.javacpp.cachedir");
    if (cache != null) {
      command.add("-Dorg.bytedeco.javacpp.cachedir=" + cache);
    }
    command.addAll(List.of(jvm));
    command.addAll(List.of("-cp", System.getProperty("java.class.path"), "io.rora.cli.Main"));
    return command;
  }

  private ProcessBuilder builder(List<String> command, Map<String, String> environment) {
    ProcessBuilder builder = new ProcessBuilder(command);
    builder.environment().putAll(environment);
    builder.environment().remove("JAVA_TOOL_OPTIONS"); // the JVM announces it on stderr
    return builder
        .redirectOutput(folder.resolve("stdout").toFile())
        .redirectError(folder.resolve("stderr").toFile());
  }

  private Cli.Result run(List<String> command, Map<String, String> environment)
      throws IOException, InterruptedException {
    Process process = builder(command, environment).start();
    assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS), "it does not end");
    return new Cli.Result(
        process.exitValue(),
        Files.readString(folder.resolve("stdout")),
        Files.readString(folder.resolve("stderr")));
  }

  private static List<String> with(List<String> command, Object... arguments) {
    List<String> all = new ArrayList<>(command);
    for (Object argument : arguments) {
      all.add(argument.toString());
    }
    return all;
  }

  @Test
  void exitCodesReachTheShell() throws Exception {
    assertEquals(0, run(with(java(), "--version"), Map.of()).code());
    assertEquals(2, run(with(java(), "trian"), Map.of()).code());
    assertEquals(1, run(with(java(), "inspect", "absent"), Map.of()).code());
  }

  @Test
  void outputIsUtf8WhateverTheLocaleSays() throws Exception {
    List<String> latin = java("-Dfile.encoding=ISO-8859-1");
    Cli.Result result = run(with(latin, "inspect", "\u00e9\u4e2d"), Map.of("LC_ALL", "C.UTF-8"));
    assertTrue(result.expect(1).error().contains("\u00e9\u4e2d: no such file"), result.err());
  }

  @Test
  void textThatTheLocaleCannotReadIsRefusedNotGarbled() throws Exception {
    List<String> shell =
        List.of(
            "/bin/sh",
            "-c",
            "exec \"$@\" generate --model m --prompt \"$(printf 'caf\\303\\251')\"",
            "sh");
    List<String> command = new ArrayList<>(shell);
    command.addAll(java());
    Cli.Result result = run(command, Map.of("LC_ALL", "POSIX"));
    if (result.code() == 1) {
      return; // this JDK reads UTF-8 in every locale, and there is no model m
    }
    assertTrue(result.expect(2).error().contains("LC_ALL=C.UTF-8"), result.err());
  }

  @Test
  void aFullDiskUnderTheResultsIsAnError() throws Exception {
    Path full = Path.of("/dev/full");
    assumeTrue(Files.exists(full), "there is no /dev/full");
    Process process = builder(with(java(), "info"), Map.of()).redirectOutput(full.toFile()).start();
    assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS));
    assertEquals(1, process.exitValue());
    assertTrue(Files.readString(folder.resolve("stderr")).contains("standard output"));
  }

  @Test
  void aFullDiskLosesNothingAndTheRunGoesOnWhenThereIsRoom() throws Exception {
    Path out = folder.resolve("run");
    Object[] train = {
      "train",
      "--model",
      world.model,
      "--data",
      world.rows,
      "--out",
      out,
      "--max-steps",
      "4",
      "--batch-size",
      "4",
      "--rank",
      "64",
      "--prompt-template",
      "cloze",
      "--save-steps",
      "2"
    };
    // No file may grow beyond 64 KiB: what a full disk is to a checkpoint.
    List<String> limited =
        new ArrayList<>(
            List.of("/bin/bash", "-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "bash"));
    assumeTrue(Files.isExecutable(Path.of("/bin/bash")), "there is no /bin/bash");
    limited.addAll(java());
    Cli.Result result = run(with(limited, train), Map.of());
    String error = result.expect(1).error();
    assertTrue(error.contains(out.toString()), error);
    assertFalse(Files.exists(out.resolve("adapter_model.safetensors")));
    assertFalse(Files.exists(out.resolve("checkpoints/step-2")), "a checkpoint is whole or absent");
    Cli.Result resumed = run(with(with(java(), train), "--resume"), Map.of()).expect(0);
    assertTrue(resumed.out().startsWith("steps     4 of 4"), resumed.out());
    Path unbroken = folder.resolve("unbroken");
    train[6] = unbroken;
    Cli.run(train).expect(0);
    assertEquals(
        -1,
        Files.mismatch(
            out.resolve("adapter_model.safetensors"),
            unbroken.resolve("adapter_model.safetensors")));
  }

  @Test
  void terminationLeavesACheckpointFromWhichTheRunEndsInTheSameBits() throws Exception {
    Path out = folder.resolve("run");
    Object[] train = {
      "train",
      "--model",
      world.model,
      "--data",
      world.rows,
      "--out",
      out,
      "--max-steps",
      "60",
      "--batch-size",
      "8",
      "--rank",
      "4",
      "--prompt-template",
      "cloze",
      "--save-steps",
      "1000"
    };
    Process process =
        builder(with(java(), train), Map.of()).redirectError(ProcessBuilder.Redirect.PIPE).start();
    try (var lines =
        new BufferedReader(
            new InputStreamReader(process.getErrorStream(), StandardCharsets.UTF_8))) {
      String line = lines.readLine();
      while (line != null && !line.contains("step 3/")) {
        line = lines.readLine();
      }
      assertTrue(line != null, "it never came to step 3");
      process.toHandle().destroy(); // SIGTERM; the process itself would also close the pipe
      String last = line;
      while (line != null) {
        last = line;
        line = lines.readLine();
      }
      assertTrue(last.startsWith("rora: stopped after step "), last);
    }
    assertTrue(process.waitFor(PATIENCE_SECONDS, TimeUnit.SECONDS));
    assertTrue(process.exitValue() != 0, "a run that was stopped has not succeeded");
    try (var checkpoints = Files.list(out.resolve("checkpoints"))) {
      assertEquals(1, checkpoints.count());
    }
    Cli.run(with(toStrings(train), "--resume").toArray()).expect(0);
    Path unbroken = folder.resolve("unbroken");
    train[6] = unbroken;
    Cli.run(train).expect(0);
    assertEquals(
        -1,
        Files.mismatch(
            out.resolve("adapter_model.safetensors"),
            unbroken.resolve("adapter_model.safetensors")));
  }

  private static List<String> toStrings(Object[] arguments) {
    return with(List.of(), arguments);
  }
}
