package io.rora.files;

import java.io.IOException;
import java.nio.file.Path;

/**
 * A file from outside is not what it must be. The message names the file, what is wrong, where, and
 * what to do.
 */
public final class FileFormatException extends IOException {
  private static final long serialVersionUID = 1;

  /** Makes an exception whose message is {@code FILE: problem}. */
  public FileFormatException(Path file, String problem) {
    this(file.toString(), problem);
  }

  /**
   * Makes an exception whose message is {@code where: problem}.
   *
   * @param where the file, and where it helps the part of it
   */
  public FileFormatException(String where, String problem) {
    super(where + ": " + problem);
  }
}
