package io.rora.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.List;

/** Runs the command line inside the test, as a person types it, and keeps what it says. */
final class Cli {
  private Cli() {}

  /** What came of a command. */
  record Result(int code, String out, String err) {
    /** The error: the last line, the only one that is neither progress nor a warning. */
    String error() {
      List<String> lines = err.lines().toList();
      assertFalse(lines.isEmpty(), "no error line");
      assertTrue(err.endsWith("\n"), "the error is no whole line: " + err);
      String last = lines.get(lines.size() - 1);
      assertTrue(last.startsWith("rora: "), "the last line is no error: " + err);
      assertFalse(err.contains("\tat "), "a stack trace: " + err);
      assertFalse(last.contains("internal error"), last);
      return last;
    }

    Result expect(int expected) {
      assertEquals(expected, code, "exit code; out: " + out + "err: " + err);
      return this;
    }
  }

  static Result run(Object... arguments) {
    var out = new ByteArrayOutputStream();
    var err = new ByteArrayOutputStream();
    var console = new Console(stream(out), stream(err), false);
    String[] words = new String[arguments.length];
    for (int i = 0; i < words.length; i++) {
      words[i] = arguments[i].toString();
    }
    int code = new Main(console).run(words);
    return new Result(
        code, out.toString(StandardCharsets.UTF_8), err.toString(StandardCharsets.UTF_8));
  }

  /** Runs a command line without quotes. */
  static Result line(String words) {
    return run((Object[]) words.split(" ", -1));
  }

  private static PrintStream stream(ByteArrayOutputStream bytes) {
    return new PrintStream(bytes, true, StandardCharsets.UTF_8);
  }
}
