package io.rora.checkpoint;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.files.DurableFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class RunDirectoryTest {
  @TempDir Path folder;

  private RunDirectory open(boolean resume) throws IOException {
    return RunDirectory.open(new DurableFiles(), folder, resume);
  }

  @Test
  void aDirectoryWithFilesIsRefusedUnlessResumed() throws IOException {
    Files.writeString(folder.resolve("run.json"), "{}");
    IOException e = assertThrows(IOException.class, () -> open(false));
    assertTrue(e.getMessage().contains("--resume"), e.getMessage());
    assertEquals(folder, open(true).root());
  }

  @Test
  void whatIsNoRunIsNotResumed() throws IOException {
    Files.writeString(folder.resolve("thesis.txt"), "precious");
    IOException e = assertThrows(IOException.class, () -> open(true));
    assertTrue(e.getMessage().contains("run.json"), e.getMessage());
    assertEquals("precious", Files.readString(folder.resolve("thesis.txt")));
  }

  @Test
  void anEmptyOrMissingDirectoryIsFine() throws IOException {
    assertFalse(open(false).newestCheckpoint().isPresent());
    assertFalse(open(true).newestCheckpoint().isPresent());
    Path missing = folder.resolve("missing");
    RunDirectory.open(new DurableFiles(), missing, true);
    assertFalse(Files.exists(missing));
  }

  @Test
  void theNewestTwoCheckpointsStay() throws IOException {
    RunDirectory run = open(false);
    for (int step : new int[] {9, 10, 100, 2}) {
      Files.createDirectories(run.checkpoint(step));
    }
    Files.createDirectories(run.checkpoints().resolve("step-x"));
    run.prune();
    assertEquals(100, run.newestCheckpoint().orElseThrow());
    assertTrue(Files.exists(run.checkpoint(10)));
    assertFalse(Files.exists(run.checkpoint(9)));
    assertFalse(Files.exists(run.checkpoint(2)));
  }
}
