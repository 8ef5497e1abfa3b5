package io.rora.kernels;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.File;
import java.io.IOException;
import java.io.StringWriter;
import java.net.URISyntaxException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;
import org.bytedeco.javacpp.Pointer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The program in docs/using-the-kernels.md works with nothing but this module and JavaCPP. */
class DocumentedTrainerTest {
  private static final String NAME = "OwnTrainer";
  private static final String PAGE = "docs/using-the-kernels.md";

  @TempDir Path folder;

  private static Path document() {
    Path folder = Path.of("").toAbsolutePath();
    while (!Files.exists(folder.resolve(PAGE))) {
      folder = folder.getParent();
      assertNotNull(folder, PAGE + " is in no folder above this one");
    }
    return folder.resolve(PAGE);
  }

  private static String program() throws IOException {
    Matcher block =
        Pattern.compile("```java\\n(.*?)```", Pattern.DOTALL).matcher(Files.readString(document()));
    assertTrue(block.find(), "the page has no Java program");
    return block.group(1);
  }

  /** This module's classes and JavaCPP. */
  private static String moduleAlone() throws URISyntaxException {
    List<String> places = new ArrayList<>();
    for (Class<?> type : List.of(RoraContext.class, Pointer.class)) {
      places.add(
          Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI()).toString());
    }
    return String.join(File.pathSeparator, places);
  }

  private Path compile() throws IOException, URISyntaxException {
    Path source = Files.writeString(folder.resolve(NAME + ".java"), program());
    Path classes = Files.createDirectory(folder.resolve("classes"));
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    assertNotNull(compiler, "this Java has no compiler: run the tests with a JDK");
    StringWriter problems = new StringWriter();
    List<String> options = new ArrayList<>(List.of("--release", "17", "-proc:none"));
    options.addAll(List.of("-Xlint:all,-classfile,-path", "-d", classes.toString()));
    options.addAll(List.of("-cp", moduleAlone()));
    try (var files = compiler.getStandardFileManager(null, null, StandardCharsets.UTF_8)) {
      boolean compiled =
          compiler
              .getTask(problems, files, null, options, null, files.getJavaFileObjects(source))
              .call();
      assertTrue(compiled, problems.toString());
    }
    assertEquals("", problems.toString(), "the page's program compiles without warnings");
    return classes;
  }

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
                moduleAlone() + File.pathSeparator + classes,
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
    List<String> lines = run(compile());
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
