package io.rora.tokenizer;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Set;

/**
 * What a model's files say about its tokenizer.
 *
 * @param where what messages call it
 * @param tokenizerJson what the tokenizers library is given
 * @param ids the special tokens
 * @param modelVocabulary number of ids that the model knows
 * @param copies files to copy when the tokenizer is written, by name
 * @param texts files to write, by name
 */
record TokenizerFiles(
    String where,
    String tokenizerJson,
    SpecialIds ids,
    int modelVocabulary,
    List<Path> copies,
    Map<String, String> texts) {

  /**
   * The ids of the special tokens.
   *
   * @param stops every id that ends a text, {@code eos} first
   */
  record SpecialIds(OptionalInt bos, OptionalInt eos, List<Integer> stops) {
    /** Puts the ids together; {@code eos} is the tokenizer's, else the first of the others. */
    static SpecialIds of(OptionalInt bos, OptionalInt eos, List<Integer> others) {
      Set<Integer> stops = new LinkedHashSet<>();
      eos.ifPresent(stops::add);
      stops.addAll(others);
      List<Integer> all = new ArrayList<>(stops);
      return new SpecialIds(
          bos, all.isEmpty() ? OptionalInt.empty() : OptionalInt.of(all.get(0)), List.copyOf(all));
    }
  }

  void writeTo(Path directory) throws IOException {
    for (Map.Entry<String, byte[]> file : contents().entrySet()) {
      Files.write(directory.resolve(file.getKey()), file.getValue());
    }
  }

  /** Returns the contents of all files by name. */
  Map<String, byte[]> contents() throws IOException {
    Map<String, byte[]> contents = new LinkedHashMap<>();
    for (Path file : copies) {
      contents.put(file.getFileName().toString(), Files.readAllBytes(file));
    }
    texts.forEach((name, text) -> contents.put(name, text.getBytes(StandardCharsets.UTF_8)));
    return contents;
  }
}
