package io.rora.files;

import java.io.IOException;
import java.nio.file.Path;

/**
 * Takes the files of a directory, wherever that is: a whole one being made, or one that is there.
 */
@FunctionalInterface
public interface FileSink {
  /** Writes a file, replacing one of that name. */
  void write(String name, DurableFiles.Body body) throws IOException;

  /** Writes each file durably into a directory that may hold others. */
  static FileSink into(DurableFiles files, Path directory) {
    return (name, body) -> files.write(directory.resolve(name), body);
  }
}
