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
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;
import org.bytedeco.javacpp.Pointer;

/** The programs in docs/using-the-kernels.md. */
final class DocumentedPrograms {
  private static final String PAGE = "docs/using-the-kernels.md";

  private DocumentedPrograms() {}

  private static Path document() {
    Path folder = Path.of("").toAbsolutePath();
    while (!Files.exists(folder.resolve(PAGE))) {
      folder = folder.getParent();
      assertNotNull(folder, PAGE + " is in no folder above this one");
    }
    return folder.resolve(PAGE);
  }

  /** The text of the one whose public class has that name. */
  private static String program(String name) throws IOException {
    Matcher block =
        Pattern.compile("```java\\n(.*?)```", Pattern.DOTALL).matcher(Files.readString(document()));
    while (block.find()) {
      if (block.group(1).contains("public final class " + name + " ")) {
        return block.group(1);
      }
    }
    throw new AssertionError("the page has no program " + name);
  }

  /** Where this module's classes, JavaCPP's and those of other libraries are. */
  static String classPath(Class<?>... others) throws URISyntaxException {
    List<Class<?>> types = new ArrayList<>(List.of(RoraContext.class, Pointer.class));
    types.addAll(List.of(others));
    List<String> places = new ArrayList<>();
    for (Class<?> type : types) {
      places.add(
          Path.of(type.getProtectionDomain().getCodeSource().getLocation().toURI()).toString());
    }
    return String.join(File.pathSeparator, places);
  }

  /** Compiles a program, without warnings, into a new folder in {@code folder}. */
  static Path compile(String name, String classPath, Path folder) throws IOException {
    Path source = Files.writeString(folder.resolve(name + ".java"), program(name));
    Path classes = Files.createDirectory(folder.resolve("classes"));
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    assertNotNull(compiler, "this Java has no compiler: run the tests with a JDK");
    StringWriter problems = new StringWriter();
    List<String> options = new ArrayList<>(List.of("--release", "17", "-proc:none"));
    options.addAll(List.of("-Xlint:all,-classfile,-path", "-d", classes.toString()));
    options.addAll(List.of("-cp", classPath));
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
}
