package io.rora.cli;

import io.rora.cli.quickstart.Quickstart;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;

/** The built-in model and a few rows, written for a test. */
final class TinyWorld {
  final Path folder;
  final Path model;
  final Path rows;

  private TinyWorld(Path folder) {
    this.folder = folder;
    this.model = folder.resolve("model");
    this.rows = folder.resolve("rows.jsonl");
  }

  static TinyWorld in(Path folder) throws IOException {
    TinyWorld world = new TinyWorld(folder);
    Files.createDirectories(world.model);
    for (String name :
        List.of("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")) {
      try (InputStream in = Quickstart.class.getResourceAsStream("base/" + name)) {
        Files.copy(in, world.model.resolve(name));
      }
    }
    String lines = IntStream.range(0, 8).mapToObj(TinyWorld::row).collect(Collectors.joining("\n"));
    Files.writeString(world.rows, lines);
    return world;
  }

  static String row(int number) {
    return "{\"instruction\": \"Please choose the correct answer to the question: Where is the home"
        + " of number "
        + number
        + "?\\n\\nAnswer1: Klenford Answer2: Zolton\\n\\nAnswer format: answer1/answer2\","
        + " \"input\": \"\", \"output\": \"the correct answer is answer"
        + (1 + number % 2)
        + "\", \"answer\": \"answer"
        + (1 + number % 2)
        + "\"}";
  }

  /** Trains two steps into a directory. */
  Cli.Result train(Path out, Object... more) {
    Object[] words = {
      "train",
      "--model",
      model,
      "--data",
      rows,
      "--out",
      out,
      "--max-steps",
      2,
      "--batch-size",
      4,
      "--rank",
      4,
      "--alpha",
      8,
      "--prompt-template",
      "cloze",
      "--threads",
      1
    };
    Object[] all = new Object[words.length + more.length];
    System.arraycopy(words, 0, all, 0, words.length);
    System.arraycopy(more, 0, all, words.length, more.length);
    return Cli.run(all);
  }
}
