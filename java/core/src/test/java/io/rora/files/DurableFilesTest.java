package io.rora.files;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assertions.fail;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.AccessDeniedException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class DurableFilesTest {
  @TempDir Path directory;

  /** The end of the process: not an Exception, so nothing may be tidied up. */
  private static final class Crash extends Error {
    private static final long serialVersionUID = 1;
  }

  /** Fails at one step of a run, and counts the steps. */
  private static final class FaultAt implements DurableFiles.Faults {
    private final int fatal;
    private final IOException failure;
    private int steps;

    FaultAt(int fatal, IOException failure) {
      this.fatal = fatal;
      this.failure = failure;
    }

    @Override
    public void after(DurableFiles.Step step, Path path) throws IOException {
      if (steps++ == fatal) {
        if (failure == null) {
          throw new Crash();
        }
        throw failure;
      }
    }
  }

  private static DurableFiles.Body twoWrites(String text) {
    return out -> {
      out.write(ByteBuffer.wrap(text.getBytes(java.nio.charset.StandardCharsets.UTF_8)));
      out.write(ByteBuffer.wrap(new byte[] {'!'}));
    };
  }

  private static void writePair(DurableFiles files, Path target, String text) throws IOException {
    files.writeDirectory(
        target,
        folder -> {
          folder.write("a", twoWrites(text));
          folder.write("b", DurableFiles.Body.of(text));
        });
  }

  /** Returns the files under the directory and what is in them. */
  private Map<String, String> contents() throws IOException {
    Map<String, String> contents = new TreeMap<>();
    try (Stream<Path> paths = Files.walk(directory)) {
      for (Path path : paths.filter(Files::isRegularFile).toList()) {
        contents.put(directory.relativize(path).toString(), Files.readString(path));
      }
    }
    return contents;
  }

  @Test
  void devicesArePreservedAndLinksFollowed() throws IOException {
    Path device = Path.of("/dev/null");
    assumeTrue(Files.exists(device), "this system has no /dev/null");
    DurableFiles.Body text = DurableFiles.Body.of("new");
    assertThrows(
        FileFormatException.class,
        () -> new DurableFiles((step, path) -> fail("writes at " + path)).write(device, text));
    assertFalse(Files.isRegularFile(device));
    Path file = Files.writeString(directory.resolve("file"), "old");
    Path link = Files.createSymbolicLink(directory.resolve("link"), file);
    new DurableFiles().write(link, text);
    assertTrue(Files.isSymbolicLink(link));
    assertEquals("new", Files.readString(file));
  }

  @Test
  void writesReplacesAndMakesParents() throws IOException {
    DurableFiles files = new DurableFiles();
    Path target = directory.resolve("x/y/file");
    files.write(target, DurableFiles.Body.of("old"));
    files.write(target, DurableFiles.Body.ofStream(out -> out.write(new byte[3_000_000])));
    assertEquals(3_000_000, Files.size(target));
    files.write(target, DurableFiles.Body.of("new"));
    assertEquals(Map.of("x/y/file", "new"), contents());
  }

  @Test
  void aFileIsOldOrNewAfterACrashAtAnyStep() throws IOException {
    Path target = directory.resolve("file");
    DurableFiles sound = new DurableFiles();
    for (int step = 0; ; step++) {
      sound.write(target, DurableFiles.Body.of("old"));
      FaultAt fault = new FaultAt(step, null);
      try {
        new DurableFiles(fault).write(target, twoWrites("new"));
        assertEquals(6, fault.steps, "create, two writes, fsync, rename, fsync of the directory");
        return;
      } catch (Crash crash) {
        String found = Files.readString(target);
        assertEquals(step < 4 ? "old" : "new!", found, "after a crash at step " + step);
        sound.recover(directory);
        assertEquals(Map.of("file", found), contents(), "after a crash at step " + step);
      }
    }
  }

  @Test
  void aFileIsWholeAfterAFailureAtAnyStepAndNothingIsLeftBehind() throws IOException {
    Path target = directory.resolve("file");
    for (int step = 0; step < 6; step++) {
      new DurableFiles().write(target, DurableFiles.Body.of("old"));
      FaultAt fault = new FaultAt(step, new IOException("No space left on device"));
      IOException e =
          assertThrows(
              IOException.class, () -> new DurableFiles(fault).write(target, twoWrites("new")));
      assertTrue(
          e.getMessage().startsWith(target + ": cannot be written (No space left"), e.getMessage());
      assertTrue(e.getMessage().contains("make room on that disk"), e.getMessage());
      assertEquals(Map.of("file", step < 4 ? "old" : "new!"), contents(), "after step " + step);
    }
  }

  @Test
  void aDirectoryIsOldOrNewAfterACrashAtAnyStep() throws IOException {
    Path target = directory.resolve("best");
    DurableFiles sound = new DurableFiles();
    Map<String, String> old = Map.of("best/a", "old!", "best/b", "old");
    Map<String, String> updated = Map.of("best/a", "new!", "best/b", "new");
    for (int step = 0; ; step++) {
      writePair(sound, target, "old");
      assertEquals(old, contents());
      try {
        writePair(new DurableFiles(new FaultAt(step, null)), target, "new");
        assertTrue(step > 12, "the run has more steps than " + step);
        assertEquals(updated, contents());
        return;
      } catch (Crash crash) {
        sound.recover(directory);
        Map<String, String> found = contents();
        assertTrue(found.equals(old) || found.equals(updated), "step " + step + ": " + found);
      }
    }
  }

  @Test
  void aNewDirectoryIsThereEntirelyOrNotAtAllAfterACrashAtAnyStep() throws IOException {
    Path target = directory.resolve("step-100");
    for (int step = 0; ; step++) {
      new DurableFiles().deleteDirectory(target);
      try {
        writePair(new DurableFiles(new FaultAt(step, null)), target, "new");
        return;
      } catch (Crash crash) {
        if (Files.exists(target)) {
          assertEquals("new!", Files.readString(target.resolve("a")));
          assertEquals("new", Files.readString(target.resolve("b")));
        }
        new DurableFiles().recover(directory);
        assertEquals(
            Files.exists(target) ? 2 : 0, contents().size(), "after a crash at step " + step);
      }
    }
  }

  @Test
  void aDirectoryIsWholeAfterAFailureAtAnyStep() throws IOException {
    Path target = directory.resolve("best");
    for (int step = 0; step < 14; step++) {
      writePair(new DurableFiles(), target, "old");
      FaultAt fault = new FaultAt(step, new IOException("Input/output error"));
      try {
        writePair(new DurableFiles(fault), target, "new");
      } catch (IOException e) {
        assertTrue(e.getMessage().contains("best"), e.getMessage());
        assertTrue(e.getMessage().contains("Input/output error"), e.getMessage());
      }
      new DurableFiles().recover(directory);
      String a = Files.readString(target.resolve("a"));
      assertEquals(a, Files.readString(target.resolve("b")) + "!", "after step " + step);
      assertEquals(2, contents().size(), "after step " + step);
    }
  }

  @Test
  void deletionIsNeverSeenHalfDone() throws IOException {
    Path target = directory.resolve("step-1");
    for (int step = 0; ; step++) {
      writePair(new DurableFiles(), target, "x");
      try {
        new DurableFiles(new FaultAt(step, null)).deleteDirectory(target);
        assertFalse(Files.exists(target));
        return;
      } catch (Crash crash) {
        assertFalse(Files.exists(target), "the rename comes first");
        new DurableFiles().recover(directory);
        assertEquals(Map.of(), contents());
      }
    }
  }

  @Test
  void aReadOnlyDirectoryIsNamedWithAdvice() {
    Path target = directory.resolve("file");
    DurableFiles.Faults refused =
        (step, path) -> {
          throw new AccessDeniedException(path.toString());
        };
    IOException e =
        assertThrows(
            IOException.class, () -> new DurableFiles(refused).write(target, twoWrites("x")));
    assertTrue(
        e.getMessage()
            .startsWith(
                target + ": cannot be written (permission denied); make its directory writable"),
        e.getMessage());
  }

  @Test
  void aFileInThePlaceOfADirectoryIsNamed() throws IOException {
    Path file = Files.writeString(directory.resolve("file"), "x");
    IOException e =
        assertThrows(
            IOException.class,
            () -> new DurableFiles().write(file.resolve("y/z"), DurableFiles.Body.of("")));
    assertTrue(e.getMessage().contains(file + " is a file"), e.getMessage());
  }

  @Test
  void theBodysOwnFailureIsPassedOnAsItIs() {
    IOException own = new IOException("the model is damaged");
    IOException e =
        assertThrows(
            IOException.class,
            () ->
                new DurableFiles()
                    .write(
                        directory.resolve("f"),
                        out -> {
                          throw own;
                        }));
    assertEquals(own, e);
    assertEquals(List.of(), List.of(directory.toFile().list()));
  }
}
