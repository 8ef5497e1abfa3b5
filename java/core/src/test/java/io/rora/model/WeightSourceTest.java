package io.rora.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.config.ModelConfig;
import io.rora.config.RopeScaling;
import io.rora.files.DurableFiles;
import io.rora.files.FileFormatException;
import io.rora.kernels.DataType;
import io.rora.safetensors.SafetensorsFile;
import io.rora.safetensors.SafetensorsType;
import io.rora.safetensors.SafetensorsWriter;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class WeightSourceTest {
  private static final Path GOLDEN = Path.of("src/test/resources/golden/files");
  private static final String CONFIG =
      "{'architectures': ['LlamaForCausalLM'], 'vocab_size': 6, 'hidden_size': 4,"
          + " 'intermediate_size': 3, 'num_hidden_layers': 1, 'num_attention_heads': 2,"
          + " 'eos_token_id': 2}";

  @TempDir Path directory;

  /** The tensors of a model of CONFIG; tests change them and write them. */
  private final Map<String, float[]> values = new LinkedHashMap<>();

  private final Map<String, List<Long>> shapes = new LinkedHashMap<>();

  @BeforeEach
  void makeModel() throws IOException {
    writeConfig(CONFIG);
    shapes.putAll(ModelConfig.fromHuggingFace(directory.resolve("config.json")).tensorShapes());
    Random random = new Random(3);
    shapes.forEach(
        (name, shape) -> {
          float[] numbers =
              new float[(int) shape.stream().mapToLong(Long::longValue).reduce(1, (a, b) -> a * b)];
          for (int i = 0; i < numbers.length; i++) {
            numbers[i] = random.nextFloat() - 0.5f;
          }
          values.put(name, numbers);
        });
  }

  private void writeConfig(String json) throws IOException {
    Files.writeString(directory.resolve("config.json"), json.replace('\'', '"'));
  }

  private void write(SafetensorsType type) throws IOException {
    write("model.safetensors", type, List.copyOf(values.keySet()));
  }

  private void write(String file, SafetensorsType type, List<String> names) throws IOException {
    List<SafetensorsWriter.Tensor> tensors = new ArrayList<>();
    names.forEach(name -> tensors.add(new SafetensorsWriter.Tensor(name, type, shapes.get(name))));
    new DurableFiles()
        .write(
            directory.resolve(file),
            SafetensorsWriter.body(
                Map.of(),
                tensors,
                (tensor, out) ->
                    out.writeFloats(
                        values.get(tensor.name()), 0, values.get(tensor.name()).length)));
  }

  private void refused(String... parts) {
    IOException e =
        assertThrows(FileFormatException.class, () -> WeightSource.open(directory).close());
    for (String part : parts) {
      assertTrue(e.getMessage().contains(part), e.getMessage());
    }
  }

  // ---- equal ways to store one model ----

  @Test
  void aGgufFileGivesWhatTheHuggingFaceDirectoryGives() throws IOException {
    try (WeightSource hf = WeightSource.open(GOLDEN.resolve("tiny-hf"));
        WeightSource gguf = WeightSource.open(GOLDEN.resolve("tiny.gguf"))) {
      assertEquals(List.copyOf(hf.names()), List.copyOf(gguf.names()));
      assertEquals(9 * 2 + 7 * 2 + 3, hf.names().size());
      for (String name : hf.names()) {
        assertArrayEquals(hf.shape(name), gguf.shape(name), name);
        assertArrayEquals(hf.readFloats(name), gguf.readFloats(name), name);
        assertEquals("F32", gguf.describe(name));
      }
      assertEquals(List.of(2, 5), hf.stopTokenIds());
      assertEquals(List.of(2, 5), gguf.stopTokenIds());
      assertEquals(OptionalInt.of(1), gguf.config().bosTokenId());
      assertFalse(gguf.quantised());
      assertEquals(DataType.F32, gguf.storageType());
      checkConfigs(hf.config(), gguf.config());
    }
  }

  private void checkConfigs(ModelConfig hf, ModelConfig gguf) throws IOException {
    assertTrue(gguf.rope().scaling() instanceof RopeScaling.Divisors);
    assertArrayEquals(hf.rope().inverseFrequencies(16), gguf.rope().inverseFrequencies(16), 1e-7f);
    ModelConfig again =
        ModelConfig.fromHuggingFace(
            Files.writeString(directory.resolve("c.json"), gguf.toHuggingFaceJson()));
    assertEquals(hf, again, "the divisors are written as the scaling that they come from");
  }

  @Test
  void rowsAreReadInAnyPortionIntoAnyBuffer() throws IOException {
    Random random = new Random(5);
    for (Path path : List.of(GOLDEN.resolve("tiny-hf"), GOLDEN.resolve("tiny.gguf"))) {
      try (WeightSource source = WeightSource.open(path)) {
        for (String name :
            List.of(
                "model.layers.1.self_attn.q_proj.weight",
                "model.layers.0.self_attn.k_proj.bias",
                "lm_head.weight")) {
          float[] whole = source.readFloats(name);
          long[] shape = source.shape(name);
          int length = (int) (whole.length / shape[0]);
          for (int i = 0; i < 40; i++) {
            int row = random.nextInt((int) shape[0] + 1);
            int rows = random.nextInt((int) shape[0] + 1 - row);
            ByteBuffer target =
                (i % 2 == 0
                        ? ByteBuffer.allocateDirect(8 + rows * length * 4)
                        : ByteBuffer.allocate(8 + rows * length * 4))
                    .order(i % 4 < 2 ? ByteOrder.LITTLE_ENDIAN : ByteOrder.BIG_ENDIAN)
                    .position(4);
            source.readRows(name, row, rows, target, DataType.F32);
            assertEquals(4 + rows * length * 4, target.position());
            for (int j = 0; j < rows * length; j++) {
              assertEquals(
                  whole[row * length + j],
                  target.getFloat(4 + 4 * j),
                  name + " row " + row + " element " + j);
            }
          }
          assertThrows(
              IllegalArgumentException.class,
              () -> source.readRows(name, 1, shape[0], ByteBuffer.allocate(1 << 20), DataType.F32));
          assertThrows(
              IllegalArgumentException.class,
              () -> source.readRows(name, 0, 2, ByteBuffer.allocate(7), DataType.F32));
          assertThrows(
              IllegalArgumentException.class,
              () -> source.readRows(name, 0, 1, ByteBuffer.allocate(1 << 20), DataType.F16));
        }
        assertThrows(IllegalArgumentException.class, () -> source.readFloats("nothing"));
      }
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"F32", "F16", "BF16"})
  void everyFloatingTypeIsReadAsItIsAndAsFloats(String typeName) throws IOException {
    write(SafetensorsType.valueOf(typeName));
    try (WeightSource source = WeightSource.open(directory)) {
      String name = "model.layers.0.mlp.up_proj.weight";
      DataType type = source.typeOf(name);
      assertEquals(typeName, type.name());
      assertEquals(typeName, source.describe(name));
      assertEquals(type, source.storageType());
      assertArrayEquals(values.get(name), source.readFloats(name), 0.002f);
      ByteBuffer raw = ByteBuffer.allocateDirect(12 * type.bytes()).order(ByteOrder.nativeOrder());
      source.readRows(name, 0, 3, raw, type);
      raw.flip();
      for (float value : source.readFloats(name)) {
        assertEquals(value, io.rora.files.FloatFormat.get(raw, type));
      }
    }
  }

  @Test
  void aFileWithoutTheUsualNameAndShardsWithoutAnIndexAreRead() throws IOException {
    List<String> names = List.copyOf(values.keySet());
    write("weights-a.safetensors", SafetensorsType.F32, names.subList(0, 4));
    write("weights-b.safetensors", SafetensorsType.F32, names.subList(4, names.size()));
    try (WeightSource source = WeightSource.open(directory)) {
      assertArrayEquals(values.get(names.get(5)), source.readFloats(names.get(5)));
      assertEquals(3, source.files().size());
    }
    write("weights-b.safetensors", SafetensorsType.F32, names.subList(3, names.size()));
    refused(
        "weights-b.safetensors: holds the tensor " + names.get(3),
        "weights-a.safetensors holds too");
  }

  @Test
  void theHashIsThatOfSha256sum() throws IOException {
    write(SafetensorsType.F32);
    try (WeightSource source = WeightSource.open(directory)) {
      String hash = source.sha256();
      assertEquals(64, hash.length());
      assertEquals(hash, source.sha256());
      String lines =
          WeightFiles.sha256(directory.resolve("config.json"))
              + "  config.json\n"
              + WeightFiles.sha256(directory.resolve("model.safetensors"))
              + "  model.safetensors\n";
      Path list = Files.writeString(directory.resolve("list"), lines);
      assertEquals(WeightFiles.sha256(list), hash);
    }
    assertEquals(
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
        WeightFiles.sha256(Files.writeString(directory.resolve("abc"), "abc")));
  }

  @Test
  void generationConfigNamesStopIdsToo() throws IOException {
    write(SafetensorsType.F32);
    Files.writeString(directory.resolve("generation_config.json"), "{\"eos_token_id\": [5, 2]}");
    try (WeightSource source = WeightSource.open(directory)) {
      assertEquals(List.of(2, 5), source.stopTokenIds());
    }
    Files.writeString(directory.resolve("generation_config.json"), "{\"eos_token_id\": \"x\"}");
    refused("generation_config.json: eos_token_id is the string");
  }

  // ---- what is refused ----

  @Test
  void aMissingTensorAndAWrongShapeAreNamed() throws IOException {
    float[] up = values.remove("model.layers.0.mlp.up_proj.weight");
    write(SafetensorsType.F32);
    refused("the tensor model.layers.0.mlp.up_proj.weight is missing", "fetch it again");
    values.put("model.layers.0.mlp.up_proj.weight", up);
    shapes.put("model.layers.0.mlp.up_proj.weight", List.of(4L, 3L));
    write(SafetensorsType.F32);
    refused(
        "model.layers.0.mlp.up_proj.weight has shape [4, 3], the configuration asks for [3, 4]");
  }

  @Test
  void anUnknownTensorIsRefusedAndADerivedOneIgnored() throws IOException {
    add("model.layers.0.self_attn.rotary_emb.inv_freq", new float[1], 1L);
    write(SafetensorsType.F32);
    WeightSource.open(directory).close();
    add("model.layers.0.self_attn.q_proj.bias", new float[4], 4L);
    write(SafetensorsType.F32);
    refused(
        "holds the tensor model.layers.0.self_attn.q_proj.bias", "attention_bias and mlp_bias say");
  }

  private void add(String name, float[] numbers, Long... shape) {
    values.put(name, numbers);
    shapes.put(name, List.of(shape));
  }

  @Test
  void aTiedHeadMayBeStoredOnlyIfItIsTheEmbedding() throws IOException {
    writeConfig(CONFIG.replace("}", ", 'tie_word_embeddings': true}"));
    values.put("lm_head.weight", values.get("model.embed_tokens.weight").clone());
    write(SafetensorsType.F32);
    try (WeightSource source = WeightSource.open(directory)) {
      assertFalse(source.has("lm_head.weight"));
    }
    values.get("lm_head.weight")[7] += 1;
    write(SafetensorsType.F32);
    refused("differs from the embedding", "set tie_word_embeddings to false");
    writeConfig(CONFIG);
    values.remove("lm_head.weight");
    write(SafetensorsType.F32);
    refused("the tensor lm_head.weight is missing", "not tied");
  }

  @ParameterizedTest
  @ValueSource(floats = {Float.NaN, Float.POSITIVE_INFINITY, Float.NEGATIVE_INFINITY})
  void valuesThatAreNotFiniteAreRefusedNamingFileAndTensor(float bad) throws IOException {
    values.get("model.layers.0.mlp.down_proj.weight")[5] = bad;
    for (SafetensorsType type :
        List.of(SafetensorsType.F32, SafetensorsType.F16, SafetensorsType.BF16)) {
      write(type);
      try (WeightSource source = WeightSource.open(directory)) {
        for (DataType target : List.of(DataType.F32, source.typeOf("lm_head.weight"))) {
          ByteBuffer rows = ByteBuffer.allocateDirect(100).order(ByteOrder.nativeOrder());
          source.readRows("model.layers.0.mlp.down_proj.weight", 2, 2, rows, target);
          IOException e =
              assertThrows(
                  FileFormatException.class,
                  () -> source.readRows("model.layers.0.mlp.down_proj.weight", 1, 2, rows, target));
          assertTrue(
              e.getMessage()
                  .contains(
                      "model.safetensors: model.layers.0.mlp.down_proj.weight: element 5 is "
                          + bad),
              e.getMessage());
        }
      }
    }
  }

  @Test
  void otherElementTypesAreRefusedByName() throws IOException {
    List<SafetensorsWriter.Tensor> tensors = new ArrayList<>();
    shapes.forEach(
        (name, shape) ->
            tensors.add(new SafetensorsWriter.Tensor(name, SafetensorsType.I8, shape)));
    new DurableFiles()
        .write(
            directory.resolve("model.safetensors"),
            SafetensorsWriter.body(
                Map.of(), tensors, (t, out) -> out.write(ByteBuffer.allocate((int) t.bytes()))));
    refused("model.embed_tokens.weight has dtype I8; weights are read from F32, F16 and BF16");
  }

  @Test
  void shardsAreCheckedAgainstTheirIndex() throws IOException {
    List<String> names = List.copyOf(values.keySet());
    write("a.safetensors", SafetensorsType.F32, names.subList(0, 4));
    write("b.safetensors", SafetensorsType.F32, names.subList(4, names.size()));
    writeIndex(names, "b.safetensors");
    try (WeightSource source = WeightSource.open(directory)) {
      assertEquals(4, source.files().size());
    }
    for (String evil :
        List.of(
            "../b.safetensors",
            "/etc/b.safetensors",
            "x/b.safetensors",
            "..\\\\b.safetensors",
            ".b.safetensors",
            "b.bin")) {
      writeIndex(names, evil);
      refused(
          "is not the plain name of a .safetensors file beside the index"
              .replace("is not", "which is not"));
    }
    writeIndex(names, "c.safetensors");
    refused("the shard c.safetensors, which model.safetensors.index.json names, is missing");
    writeIndex(names.subList(0, names.size() - 1), "b.safetensors");
    refused("b.safetensors: holds the tensor " + names.get(names.size() - 1), "does not name");
    writeIndex(names, "a.safetensors");
    refused(
        "a.safetensors: the tensor ",
        ", which model.safetensors.index.json places there, is missing");
    Files.writeString(directory.resolve("model.safetensors.index.json"), "{\"weight_map\": {}}");
    refused("weight_map is empty");
  }

  private void writeIndex(List<String> names, String last) throws IOException {
    StringBuilder json = new StringBuilder("{\"metadata\": {}, \"weight_map\": {");
    for (int i = 0; i < names.size(); i++) {
      json.append(i == 0 ? "" : ", ")
          .append('"')
          .append(names.get(i))
          .append("\": \"")
          .append(i < 4 ? "a.safetensors" : last)
          .append('"');
    }
    Files.writeString(directory.resolve("model.safetensors.index.json"), json.append("}}"));
  }

  @Test
  void aFileCutShortWhileItIsReadIsAnError() throws IOException {
    write(SafetensorsType.F32);
    try (WeightSource source = WeightSource.open(directory)) {
      Path file = directory.resolve("model.safetensors");
      byte[] bytes = Files.readAllBytes(file);
      Files.write(file, java.util.Arrays.copyOf(bytes, bytes.length - 5));
      String last;
      try (SafetensorsFile whole =
          SafetensorsFile.open(Files.write(directory.resolve("whole"), bytes))) {
        last = List.copyOf(whole.tensors().keySet()).get(whole.tensors().size() - 1);
      }
      IOException e = assertThrows(IOException.class, () -> source.readFloats(last));
      assertTrue(e.getMessage().contains("cut short or replaced meanwhile"), e.getMessage());
    }
  }

  @Test
  void pathsThatAreNoModelGetAdvice() throws IOException {
    refused("there are no *.safetensors files in it");
    Files.createFile(directory.resolve("pytorch_model.bin"));
    refused("*.bin files are not read");
    Files.delete(directory.resolve("config.json"));
    refused("there is no config.json in it; give a Hugging Face model directory or a GGUF file");
    Path gguf = Files.writeString(directory.resolve("x.gguf"), "GGUF");
    refused("to use a GGUF file give its own path, such as " + gguf);
    Files.writeString(directory.resolve("adapter_config.json"), "{}");
    refused("it is an adapter");
    assertTrue(messageOf(gguf).contains("cut short"));
    assertTrue(
        messageOf(Files.writeString(directory.resolve("a.safetensors"), "xxxxxxxx"))
            .contains("give the directory that holds it"));
    assertTrue(
        messageOf(directory.resolve("nowhere")).contains("there is no such file or directory"));
  }

  private static String messageOf(Path path) {
    return assertThrows(FileFormatException.class, () -> WeightSource.open(path).close())
        .getMessage();
  }
}
