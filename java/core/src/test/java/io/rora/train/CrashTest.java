package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.files.DurableFiles;
import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A run that dies at any moment is resumed to the bits of one that does not. */
class CrashTest {
  @TempDir Path temporary;

  /** The end of the process, as far as files are concerned. */
  private static final class Death extends Error {
    Death() {
      super("the process dies here");
    }
  }

  private static TrainOptions.Builder tiny(Path out) throws IOException {
    return Runs.small(out).targetModules("q_proj").maxSteps(3).saveSteps(1).evalSteps(3);
  }

  private static DurableFiles failingAt(int step, boolean death, List<String> log) {
    return new DurableFiles(
        (kind, path) -> {
          log.add(kind + " " + path);
          if (log.size() == step + 1) {
            if (death) {
              throw new Death();
            }
            throw new IOException("No space left on device");
          }
        });
  }

  @Test
  void deathAfterAnyWriteFsyncOrRenameLosesNothing() throws IOException {
    Path whole = temporary.resolve("whole");
    List<String> steps = new ArrayList<>();
    Trainer.run(
        tiny(whole).build(), TrainListener.none(), failingAt(-2, true, steps), new Machine());
    for (int step = 0; step < steps.size(); step++) {
      if (steps.get(step).contains("step-2")) {
        continue; // as step 1: nothing older is deleted yet
      }
      Path broken = temporary.resolve("broken-" + step);
      int at = step;
      assertThrows(
          Death.class,
          () ->
              Trainer.run(
                  tiny(broken).build(),
                  TrainListener.none(),
                  failingAt(at, true, new ArrayList<>()),
                  new Machine()));
      Runs.run(tiny(broken).resume(true));
      Runs.assertSame(whole, broken, 3);
      new DurableFiles().deleteTree(broken);
    }
  }

  // Every seventh: a failure takes the same way through the code wherever it comes from.
  @Test
  void aFullDiskIsReportedAndTheRunGoesOnLater() throws IOException {
    Path whole = temporary.resolve("whole");
    List<String> steps = new ArrayList<>();
    Trainer.run(
        tiny(whole).build(), TrainListener.none(), failingAt(-2, false, steps), new Machine());
    for (int step = 0; step < steps.size(); step += 7) {
      Path broken = temporary.resolve("broken-" + step);
      int at = step;
      IOException e =
          assertThrows(
              IOException.class,
              () ->
                  Trainer.run(
                      tiny(broken).build(),
                      TrainListener.none(),
                      failingAt(at, false, new ArrayList<>()),
                      new Machine()));
      assertTrue(e.getMessage().contains("make room"), e.getMessage());
      Runs.run(tiny(broken).resume(true));
      Runs.assertSame(whole, broken, 3);
    }
  }

  /** What the killed process runs. */
  static final class Child {
    private Child() {}

    /**
     * Trains and prints every step.
     *
     * @param arguments the run's directory
     */
    public static void main(String[] arguments) throws IOException {
      TrainOptions options = killed(Path.of(arguments[0])).resume(true).build();
      Trainer.run(
          options,
          new TrainListener() {
            @Override
            public void onStep(StepMetrics step) {
              System.out.println("step " + step.step());
            }
          });
      System.out.println("finished");
    }
  }

  private static TrainOptions.Builder killed(Path out) throws IOException {
    return Runs.small(out).maxSteps(60).saveSteps(3).evalSteps(7);
  }

  @Test
  void aRunKilledThreeTimesEndsWithTheBitsOfAnUnbrokenOne() throws Exception {
    Path whole = temporary.resolve("whole");
    Runs.run(killed(whole));
    Path broken = temporary.resolve("broken");
    for (int step : new int[] {5, 21, 40}) {
      killAt(step, broken);
    }
    Runs.run(killed(broken).resume(true));
    Runs.assertSame(whole, broken, 60);
  }

  /** Starts a run and kills it (SIGKILL) once it has reached a step. */
  private void killAt(int step, Path run) throws Exception {
    Path errors = temporary.resolve("errors-" + step);
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-Xmx256m",
                "-Dorg.bytedeco.javacpp.cachedir="
                    + System.getProperty("org.bytedeco.javacpp.cachedir", ""),
                "-cp",
                System.getProperty("java.class.path"),
                Child.class.getName(),
                run.toString())
            .redirectError(new File(errors.toString()))
            .start();
    try (BufferedReader out =
        new BufferedReader(
            new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8))) {
      String line = out.readLine();
      while (line != null && !line.equals("step " + step)) {
        line = out.readLine();
      }
      assertEquals("step " + step, line, Files.readString(errors));
    } finally {
      process.destroyForcibly();
      assertTrue(process.waitFor(1, TimeUnit.MINUTES));
    }
  }
}
