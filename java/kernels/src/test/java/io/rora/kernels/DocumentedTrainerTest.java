package io.rora.kernels;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The program in docs/using-the-kernels.md works with nothing but this module and JavaCPP. */
class DocumentedTrainerTest {
  private static final String NAME = "OwnTrainer";

  @TempDir Path folder;

  private List<String> run(Path classes) throws Exception {
    Path java = Path.of(System.getProperty("java.home"), "bin", "java");
    Path printed = folder.resolve("printed");
    Process process =
        new ProcessBuilder(
                java.toString(),
                "-Xmx64m",
                "-Dorg.bytedeco.javacpp.cachedir="
                    + System.getProperty("org.bytedeco.javacpp.cachedir", folder.toString()),
                "-cp",
                DocumentedPrograms.classPath() + File.pathSeparator + classes,
                NAME)
            .redirectErrorStream(true)
            .redirectOutput(printed.toFile())
            .start();
    boolean ended = process.waitFor(2, TimeUnit.MINUTES);
    process.destroyForcibly();
    assertTrue(ended, "still running after two minutes: " + Files.readString(printed));
    assertEquals(0, process.exitValue(), Files.readString(printed));
    return Files.readAllLines(printed);
  }

  @Test
  void theProgramTrainsOnItsOwnMemoryAndAgreesWithDouble() throws Exception {
    List<String> lines =
        run(DocumentedPrograms.compile(NAME, DocumentedPrograms.classPath(), folder));
    assertEquals(5, lines.size(), lines.toString());
    Pattern line = Pattern.compile("step (\\d+), loss ([0-9.E-]+), as in double");
    double first = 0;
    double last = 0;
    for (int i = 0; i < lines.size(); i++) {
      Matcher found = line.matcher(lines.get(i));
      assertTrue(found.matches(), lines.get(i));
      assertEquals(Math.max(1, 50 * i), Integer.parseInt(found.group(1)), lines.get(i));
      last = Double.parseDouble(found.group(2));
      first = i == 0 ? last : first;
    }
    assertTrue(last < first / 20, "the loss fell from " + first + " to " + last);
  }
}
