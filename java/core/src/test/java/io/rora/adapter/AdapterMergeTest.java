package io.rora.adapter;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.config.StrictJson;
import io.rora.files.DurableFiles;
import io.rora.files.FileSink;
import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import io.rora.model.DecoderOptions;
import io.rora.model.LlamaDecoder;
import io.rora.model.LlamaModel;
import io.rora.model.WeightSource;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class AdapterMergeTest {
  private static final int[] IDS = {5, 17, 200, 3, 99, 42, 7, 7, 123};

  @TempDir Path folder;

  /** Writes the case's adapter with random values in place of its zero lora_B. */
  private Path trained(String name, float size) throws IOException {
    Path adapter = folder.resolve("adapter");
    Random random = new Random(9);
    try (RoraContext context = RoraContext.open("cpu", 1);
        WeightSource source = WeightSource.open(model(name));
        LlamaModel model = LlamaModel.load(context, source, DataType.F32);
        SavedAdapter saved = SavedAdapter.open(SavedAdapterTest.golden(name).resolve("init"));
        AdapterSet set = AdapterSet.load(model, saved)) {
      for (Adapter module : set.adapters()) {
        float[] b = new float[(int) module.loraB().length()];
        for (int i = 0; i < b.length; i++) {
          b[i] = size * (float) random.nextGaussian();
        }
        module.loraB().write(0, b, 0, b.length);
      }
      AdapterFiles.write(FileSink.into(new DurableFiles(), adapter), set);
    }
    return adapter;
  }

  private static Path model(String name) throws IOException {
    return SavedAdapterTest.golden(name).resolve("model");
  }

  private static float[] logits(Path modelPath, Path adapterOrNull) throws IOException {
    try (RoraContext context = RoraContext.open("cpu", 1);
        WeightSource source = WeightSource.open(modelPath);
        LlamaModel model = LlamaModel.load(context, source, DataType.F32)) {
      float[] logits = new float[model.config().vocabSize()];
      if (adapterOrNull == null) {
        try (LlamaDecoder decoder = LlamaDecoder.create(model, DecoderOptions.single(IDS.length))) {
          decoder.prompt(0, IDS, logits);
        }
        return logits;
      }
      try (SavedAdapter saved = SavedAdapter.open(adapterOrNull);
          AdapterSet set = AdapterSet.load(model, saved);
          LlamaDecoder decoder =
              LlamaDecoder.create(model, new DecoderOptions(1, IDS.length, set.ranks()))) {
        set.attach(decoder);
        decoder.prompt(0, IDS, logits);
        return logits;
      }
    }
  }

  private static double largestDifference(float[] a, float[] b) {
    double largest = 0;
    for (int i = 0; i < a.length; i++) {
      largest = Math.max(largest, Math.abs(a[i] - b[i]));
    }
    return largest;
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "rora-llama3-tied",
        "lora-linear-bias",
        "dora-rora-patterns",
        "rora-patterns-plus"
      })
  void theMergedModelComputesWhatModelAndAdapterDo(String name) throws IOException {
    Path adapter = trained(name, 0.1f);
    Path merged = folder.resolve("merged");
    AdapterMerge.merge(model(name), adapter, merged, DataType.F32, MergeListener.none());
    float[] expected = logits(model(name), adapter);
    assertTrue(largestDifference(expected, logits(model(name), null)) > 0.1, "no effect");
    double difference = largestDifference(expected, logits(merged, null));
    assertTrue(difference < 1e-3, "logits differ by " + difference);
    assertTrue(Files.exists(merged.resolve("tokenizer.json")));
    assertTrue(Files.exists(merged.resolve("tokenizer_config.json")));
    assertTrue(Files.exists(merged.resolve("generation_config.json")));
  }

  @Test
  void theBasesTypeIsWrittenUnlessAnotherIsNamed() throws IOException {
    Path adapter = trained("dora", 0.1f);
    for (DataType type : new DataType[] {null, DataType.F32, DataType.F16}) {
      Path merged = folder.resolve("merged-" + type);
      AdapterMerge.merge(model("dora"), adapter, merged, type, MergeListener.none());
      DataType written = type == null ? DataType.BF16 : type;
      try (WeightSource source = WeightSource.open(merged)) {
        assertEquals(written, source.storageType());
      }
      StrictJson json = StrictJson.read(merged.resolve("config.json"));
      String name =
          switch (written) {
            case F32 -> "float32";
            case BF16 -> "bfloat16";
            case F16 -> "float16";
          };
      assertEquals(name, json.string("dtype"));
    }
  }

  @Test
  void whatIsNotFiniteInTheWrittenTypeIsRefusedAndNothingIsLeft() throws IOException {
    Path adapter = trained("lora-linear-bias", 1e6f);
    Path merged = folder.resolve("merged");
    IOException e =
        assertThrows(
            IOException.class,
            () ->
                AdapterMerge.merge(
                    model("lora-linear-bias"),
                    adapter,
                    merged,
                    DataType.F16,
                    MergeListener.none()));
    assertTrue(e.getMessage().contains("_proj.weight row "), e.getMessage());
    assertFalse(Files.exists(merged));
    try (var files = Files.list(folder)) {
      assertEquals(1, files.count()); // the adapter
    }
  }

  @Test
  void aNonEmptyDirectoryIsRefused() throws IOException {
    Path adapter = trained("dora", 0.1f);
    assertThrows(
        IOException.class,
        () -> AdapterMerge.merge(model("dora"), adapter, folder, null, MergeListener.none()));
  }

  @Test
  void anotherModelsAdapterIsRefused() throws IOException {
    Path adapter = trained("dora", 0.1f);
    Path merged = folder.resolve("merged");
    assertThrows(
        IOException.class,
        () -> AdapterMerge.merge(model("rora-bf16"), adapter, merged, null, MergeListener.none()));
    assertFalse(Files.exists(merged));
  }
}
