package io.rora.adapter;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.config.ModelConfig;
import io.rora.files.DurableFiles;
import io.rora.files.FileFormatException;
import io.rora.files.FileSink;
import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import io.rora.model.LlamaModel;
import io.rora.model.WeightSource;
import io.rora.safetensors.SafetensorsFile;
import io.rora.safetensors.SafetensorsType;
import io.rora.safetensors.SafetensorsWriter;
import io.rora.safetensors.SafetensorsWriter.Tensor;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.function.Consumer;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class SavedAdapterTest {
  private static final String A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight";
  private static final String B = "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight";
  private static final String M =
      "base_model.model.model.layers.0.self_attn.q_proj.lora_magnitude_vector";

  @TempDir Path folder;

  static Path golden(String name) throws IOException {
    try {
      return Path.of(SavedAdapterTest.class.getResource("/golden/" + name).toURI());
    } catch (URISyntaxException e) {
      throw new IOException(e);
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "dora",
        "dora-rora-patterns",
        "rora-patterns-plus",
        "lora-linear-bias",
        "rora-bf16"
      })
  void whatPeftWroteIsReadAndWrittenWithoutAChange(String name) throws IOException {
    Path init = golden(name).resolve("init");
    try (RoraContext context = RoraContext.open("cpu", 1);
        WeightSource source = WeightSource.open(golden(name).resolve("model"));
        LlamaModel model = LlamaModel.load(context, source, DataType.F32);
        SavedAdapter saved = SavedAdapter.open(init);
        AdapterSet set = AdapterSet.load(model, saved)) {
      AdapterFiles.write(FileSink.into(new DurableFiles(), folder), set);
      try (SavedAdapter again = SavedAdapter.open(folder)) {
        again.requireFor(model.config());
        assertEquals(saved.modules(), again.modules());
        assertEquals(saved.shapes(), again.shapes());
        for (AdapterModule module : saved.modules()) {
          assertArrayEquals(saved.loraA(module), again.loraA(module));
          assertArrayEquals(saved.loraB(module), again.loraB(module));
          if (saved.config().dora()) {
            assertArrayEquals(saved.magnitude(module), again.magnitude(module));
          }
        }
      }
    }
  }

  /** Copies the DoRA case's adapter with some tensors changed. */
  private Path changed(Consumer<Map<String, float[]>> values, Map<String, List<Long>> shapes)
      throws IOException {
    Path init = golden("dora").resolve("init");
    Files.copy(init.resolve(AdapterConfig.FILE), folder.resolve(AdapterConfig.FILE));
    Map<String, float[]> tensors = new TreeMap<>();
    Map<String, List<Long>> allShapes = new TreeMap<>();
    try (SafetensorsFile file = SafetensorsFile.open(init.resolve(SavedAdapter.TENSORS))) {
      for (String name : file.tensors().keySet()) {
        tensors.put(name, file.readFloats(name));
        allShapes.put(name, file.tensor(name).shape());
      }
    }
    values.accept(tensors);
    allShapes.putAll(shapes);
    List<Tensor> list =
        tensors.keySet().stream()
            .map(name -> new Tensor(name, SafetensorsType.F32, allShapes.get(name)))
            .toList();
    new DurableFiles()
        .write(
            folder.resolve(SavedAdapter.TENSORS),
            SafetensorsWriter.body(
                Map.of(),
                list,
                (tensor, out) -> {
                  float[] floats = tensors.get(tensor.name());
                  out.writeFloats(floats, 0, floats.length);
                }));
    return folder;
  }

  private void assertRefused(String named, Path adapter) throws IOException {
    FileFormatException e =
        assertThrows(
            FileFormatException.class,
            () -> {
              try (RoraContext context = RoraContext.open("cpu", 1);
                  WeightSource source = WeightSource.open(golden("dora").resolve("model"));
                  LlamaModel model = LlamaModel.load(context, source, DataType.F32);
                  SavedAdapter saved = SavedAdapter.open(adapter)) {
                AdapterSet.load(model, saved).close();
              }
            });
    assertTrue(e.getMessage().contains(named), e.getMessage());
  }

  @Test
  void aMissingTensorIsRefusedByName() throws IOException {
    assertRefused(B, changed(t -> t.remove(B), Map.of()));
  }

  @Test
  void aMissingMagnitudeIsRefusedByName() throws IOException {
    assertRefused(M, changed(t -> t.remove(M), Map.of()));
  }

  @Test
  void aMissingModuleIsRefusedByName() throws IOException {
    assertRefused(
        "model.layers.0.self_attn.q_proj",
        changed(t -> t.keySet().removeAll(List.of(A, B, M)), Map.of()));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "base_model.model.lm_head.lora_A.weight",
        "base_model.model.model.embed_tokens.lora_embedding_A",
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.bias",
        "base_model.model.model.layers.0.self_attn.o_proj.lora_A.weight",
        "model.layers.0.self_attn.q_proj.lora_A.weight"
      })
  void anExtraTensorIsRefusedByName(String name) throws IOException {
    assertRefused(name, changed(t -> t.put(name, new float[8]), Map.of(name, List.of(4L, 2L))));
  }

  @Test
  void aModuleThatTheModelLacksIsRefused() throws IOException {
    String path = "model.layers.7.self_attn.q_proj";
    String a = "base_model.model." + path + ".lora_A.weight";
    String b = "base_model.model." + path + ".lora_B.weight";
    String m = "base_model.model." + path + ".lora_magnitude_vector";
    assertRefused(
        path,
        changed(
            t -> {
              t.put(a, new float[4]);
              t.put(b, new float[4]);
              t.put(m, new float[1]);
            },
            Map.of(a, List.of(4L, 1L), b, List.of(1L, 4L), m, List.of(1L))));
  }

  @Test
  void anotherRankThanTheConfigurationsIsRefused() throws IOException {
    assertRefused(A, changed(t -> t.put(A, new float[3 * 40]), Map.of(A, List.of(3L, 40L))));
  }

  @Test
  void aMatrixOfAnotherModelsSizeIsRefused() throws IOException {
    assertRefused(
        "made for another model",
        changed(t -> t.put(A, new float[4 * 41]), Map.of(A, List.of(4L, 41L))));
  }

  @Test
  void nanIsRefusedByName() throws IOException {
    assertRefused(B, changed(t -> t.get(B)[3] = Float.NaN, Map.of()));
  }

  @Test
  void anotherModelsAdapterIsRefused() throws IOException {
    ModelConfig other =
        ModelConfig.fromHuggingFace(golden("rora-bf16").resolve("model/config.json"));
    try (SavedAdapter saved = SavedAdapter.open(golden("dora").resolve("init"))) {
      FileFormatException e =
          assertThrows(FileFormatException.class, () -> saved.requireFor(other));
      assertTrue(e.getMessage().contains("another model"), e.getMessage());
    }
  }

  @Test
  void aTruncatedFileIsRefused() throws IOException {
    changed(t -> {}, Map.of());
    Path file = folder.resolve(SavedAdapter.TENSORS);
    byte[] bytes = Files.readAllBytes(file);
    Files.write(file, Arrays.copyOf(bytes, bytes.length - 5));
    assertRefused("cut short", folder);
  }

  @Test
  void aDirectoryWithoutAnAdapterIsExplained() throws IOException {
    assertRefused("whole model", golden("dora").resolve("model"));
    assertRefused("no such directory", folder.resolve("nothing"));
    assertRefused(AdapterConfig.FILE, folder);
    Files.createDirectories(folder.resolve("checkpoints"));
    assertRefused("checkpoints", folder);
  }
}
