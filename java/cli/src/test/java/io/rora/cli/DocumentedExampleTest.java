package io.rora.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.StringWriter;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.tools.JavaCompiler;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The program in docs/using-the-java-api.md compiles and does what the page says. */
class DocumentedExampleTest {
  private static final String NAME = "TuneAndUse";

  @TempDir Path folder;

  private static Path document() {
    Path folder = Path.of("").toAbsolutePath();
    while (!Files.exists(folder.resolve("docs/using-the-java-api.md"))) {
      folder = folder.getParent();
      assertNotNull(folder, "docs/using-the-java-api.md is in no folder above this one");
    }
    return folder.resolve("docs/using-the-java-api.md");
  }

  private static String program() throws IOException {
    Matcher block =
        Pattern.compile("```java\\n(.*?)```", Pattern.DOTALL).matcher(Files.readString(document()));
    assertTrue(block.find(), "the page has no Java program");
    return block.group(1);
  }

  private Path compile() throws IOException {
    Path source = Files.writeString(folder.resolve(NAME + ".java"), program());
    Path classes = Files.createDirectory(folder.resolve("classes"));
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    assertNotNull(compiler, "this Java has no compiler: run the tests with a JDK");
    StringWriter problems = new StringWriter();
    List<String> options =
        List.of(
            "--release",
            "17",
            "-proc:none",
            "-Xlint:all,-classfile,-path",
            "-d",
            classes.toString(),
            "-cp",
            System.getProperty("java.class.path"));
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

  @Test
  void theProgramTrainsResumesSwitchesStreamsAndMerges() throws Exception {
    TinyWorld world = TinyWorld.in(folder.resolve("world"));
    Path work = folder.resolve("work");
    String printed = run(compile(), world.model, world.rows, work);
    List<String> lines = printed.lines().toList();
    assertTrue(lines.get(0).startsWith("step 1, loss "), printed);
    assertTrue(lines.get(2).startsWith("step 3, loss "), printed);
    assertEquals("CANCELLED after step 3", lines.get(3), printed);
    assertEquals("FINISHED after step 6", lines.get(4), printed);
    assertTrue(lines.size() >= 8, "a text for each of two adapters and the base: " + printed);
    for (String file :
        List.of(
            "rora/adapter_model.safetensors",
            "lora/adapter_model.safetensors",
            "merged/model.safetensors",
            "merged/tokenizer.json")) {
      assertTrue(Files.exists(work.resolve(file)), file);
    }
    Path unbroken = folder.resolve("unbroken");
    Object[] same = {
      "train",
      "--model",
      world.model,
      "--data",
      world.rows,
      "--out",
      unbroken,
      "--method",
      "rora",
      "--rank",
      8,
      "--alpha",
      16,
      "--max-steps",
      6,
      "--batch-size",
      4,
      "--prompt-template",
      "cloze"
    };
    Cli.run(same).expect(0);
    assertEquals(
        -1,
        Files.mismatch(
            work.resolve("rora/adapter_model.safetensors"),
            unbroken.resolve("adapter_model.safetensors")),
        "the API in two parts and the command in one give the same bits");
  }

  private static String run(Path classes, Path... arguments) throws Exception {
    String[] words = new String[arguments.length];
    for (int i = 0; i < words.length; i++) {
      words[i] = arguments[i].toString();
    }
    var printed = new ByteArrayOutputStream();
    PrintStream before = System.out;
    try (var loader =
        new URLClassLoader(
            new URL[] {classes.toUri().toURL()}, DocumentedExampleTest.class.getClassLoader())) {
      System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
      loader.loadClass(NAME).getMethod("main", String[].class).invoke(null, (Object) words);
    } finally {
      System.setOut(before);
    }
    return printed.toString(StandardCharsets.UTF_8);
  }
}
