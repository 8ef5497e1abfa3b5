package io.rora;

import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;

/**
 * Files too large for the repository: real models and data. They lie in the folder that the system
 * property or environment variable {@code RORA_TEST_FILES} names, by default {@code ../shared}
 * beside the repository. A test that wants one which is absent is skipped, saying so.
 */
public final class TestFiles {
  private TestFiles() {}

  /** The path of a file, such as {@code models/tiny/reference.json}; skips the test without it. */
  public static Path require(String name) {
    Path file = folder().resolve(name);
    assumeTrue(Files.exists(file), file + " is absent: set RORA_TEST_FILES to the folder it is in");
    return file;
  }

  private static Path folder() {
    String folder = System.getProperty("RORA_TEST_FILES", System.getenv("RORA_TEST_FILES"));
    return folder == null ? repository().resolveSibling("shared") : Path.of(folder);
  }

  private static Path repository() {
    Path folder = Path.of("").toAbsolutePath();
    while (!Files.exists(folder.resolve("native/include/rora"))) {
      folder = folder.getParent();
    }
    return folder;
  }
}
