package io.rora.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import org.junit.jupiter.api.Test;

class ErrorReportTest {
  @Test
  void messagesStayOnOneLineAndReachNoTerminalAsCommands() {
    String report = ErrorReport.describe(new IOException("a\nb\u001b[31m\u0085c\u2028d\u202ee"));
    assertEquals("a b [31m c d e", report);
  }

  @Test
  void fileErrorsNameTheFileAndTheReason() {
    assertEquals(
        "x: no such file or directory: check the path",
        ErrorReport.describe(new UncheckedIOException(new NoSuchFileException("x"))));
    assertTrue(
        ErrorReport.describe(new AccessDeniedException("x")).startsWith("x: permission denied"));
    assertEquals(
        "x: No space left on device: free some space and run the command again",
        ErrorReport.describe(new FileSystemException("x", null, "No space left on device")));
    assertTrue(
        ErrorReport.describe(new FileSystemException("x", null, "Read-only file system"))
            .endsWith("name a place that can be written"));
  }

  @Test
  void bugsSayWhereTheyAreAndMemoryWhatToDo() {
    String bug = ErrorReport.describe(new NullPointerException("n"));
    assertTrue(bug.startsWith("internal error, please report it: "), bug);
    assertTrue(bug.contains("ErrorReportTest.java"), bug);
    assertTrue(ErrorReport.describe(new OutOfMemoryError("Java heap space")).contains("-Xmx"));
  }

  @Test
  void suggestionsFindSlipsAndNothingFarAway() {
    var known = java.util.List.of("train", "eval", "generate", "merge");
    assertEquals("train", Suggestions.closest("trian", known).orElseThrow());
    assertEquals("generate", Suggestions.closest("gen", known).orElseThrow());
    assertTrue(Suggestions.closest("prune", known).isEmpty());
    assertEquals(1, Suggestions.distance("ab", "ba"));
    assertEquals(3, Suggestions.distance("kitten", "sitting"));
  }
}
