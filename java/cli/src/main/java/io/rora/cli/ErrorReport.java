package io.rora.cli;

import java.io.UncheckedIOException;
import java.nio.file.AccessDeniedException;
import java.nio.file.DirectoryNotEmptyException;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileSystemException;
import java.nio.file.NoSuchFileException;
import java.nio.file.NotDirectoryException;
import java.util.Locale;

/** Turns what went wrong into the one line that a user reads. */
final class ErrorReport {
  private static final int MAX_LENGTH = 2000;

  private ErrorReport() {}

  /** One line without control characters: what was wrong and, where we know it, what to do. */
  static String describe(Throwable error) {
    return oneLine(sentence(error));
  }

  /**
   * The text on one line. Names come from files that somebody else wrote, so control characters
   * must not reach the terminal.
   */
  static String oneLine(String text) {
    StringBuilder line = new StringBuilder();
    text.codePoints()
        .map(c -> Character.isISOControl(c) || isLineSeparator(c) ? ' ' : c)
        .forEach(line::appendCodePoint);
    String joined = line.toString().strip().replaceAll(" {2,}", " ");
    return joined.length() <= MAX_LENGTH ? joined : joined.substring(0, MAX_LENGTH) + " ...";
  }

  private static boolean isLineSeparator(int codePoint) {
    int type = Character.getType(codePoint);
    return type == Character.LINE_SEPARATOR
        || type == Character.PARAGRAPH_SEPARATOR
        || type == Character.FORMAT;
  }

  private static String sentence(Throwable error) {
    if (error instanceof UncheckedIOException unchecked) {
      return sentence(unchecked.getCause());
    }
    if (error instanceof OutOfMemoryError) {
      return "the Java heap is full ("
          + error.getMessage()
          + "): give it more with JAVA_TOOL_OPTIONS=-Xmx4g, or use a smaller --batch-size";
    }
    if (error instanceof LinkageError) {
      return "the native library does not load: "
          + error.getMessage()
          + "; build again with ./rora info, and see rora info for what this machine offers";
    }
    if (error instanceof FileSystemException file) {
      return fileSystem(file);
    }
    if (isBug(error)) {
      return "internal error, please report it: " + error + where(error);
    }
    return withSpaceAdvice(error.getMessage() == null ? error.toString() : error.getMessage());
  }

  private static boolean isBug(Throwable error) {
    return error instanceof NullPointerException
        || error instanceof ClassCastException
        || error instanceof IndexOutOfBoundsException
        || error instanceof ArithmeticException
        || error instanceof Error;
  }

  /** The place, which a report needs; a whole trace would bury the message. */
  private static String where(Throwable error) {
    StackTraceElement[] trace = error.getStackTrace();
    return trace.length == 0 ? "" : " at " + trace[0];
  }

  private static String fileSystem(FileSystemException error) {
    String file = error.getFile() == null ? "" : error.getFile() + ": ";
    if (error instanceof NoSuchFileException) {
      return file + "no such file or directory: check the path";
    }
    if (error instanceof AccessDeniedException) {
      return file + "permission denied: check who owns it and its mode";
    }
    if (error instanceof NotDirectoryException) {
      return file + "is not a directory: check the path";
    }
    if (error instanceof FileAlreadyExistsException) {
      return file + "exists already: name another place";
    }
    if (error instanceof DirectoryNotEmptyException) {
      return file + "is not empty: name another place";
    }
    String reason = error.getReason() == null ? error.getMessage() : error.getReason();
    return withSpaceAdvice(file + reason);
  }

  private static String withSpaceAdvice(String message) {
    String lower = message.toLowerCase(Locale.ROOT);
    if (lower.contains("no space left") || lower.contains("disk quota")) {
      return message + ": free some space and run the command again";
    }
    if (lower.contains("read-only file system")) {
      return message + ": name a place that can be written";
    }
    return message;
  }
}
