package io.rora.cli;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Where a command writes: results to {@code out}, everything else to {@code err}, both UTF-8
 * whatever the locale says.
 *
 * @param out results, and nothing but results
 * @param err progress, warnings, errors
 * @param terminal whether {@code err} is a person's terminal, where progress may redraw a line
 */
public record Console(PrintStream out, PrintStream err, boolean terminal) {
  /** The console of this process. */
  public static Console ofProcess() {
    return new Console(
        utf8(FileDescriptor.out), utf8(FileDescriptor.err), isTerminal(Path.of("/proc/self/fd/2")));
  }

  /** Writes a line to {@code err}. */
  public void warn(String line) {
    err.println("rora: warning: " + ErrorReport.oneLine(line));
  }

  /** Writes a line of progress to {@code err}. */
  public void progress(String line) {
    err.println(line);
  }

  /**
   * Makes sure that the results arrived.
   *
   * @throws FailureException if writing to {@code out} failed, as on a full disk or a closed pipe
   */
  void flush() {
    if (out.checkError()) {
      throw new FailureException(
          "cannot write the results to standard output: it is closed, or its disk is full");
    }
  }

  private static PrintStream utf8(FileDescriptor descriptor) {
    return new PrintStream(new FileOutputStream(descriptor), true, StandardCharsets.UTF_8);
  }

  /** Java can only ask about input and output together, so this asks Linux. */
  private static boolean isTerminal(Path descriptor) {
    try {
      String target = Files.readSymbolicLink(descriptor).toString();
      return target.startsWith("/dev/pts/") || target.startsWith("/dev/tty");
    } catch (IOException | UnsupportedOperationException e) {
      return false; // not Linux: plain lines are right everywhere
    }
  }
}
