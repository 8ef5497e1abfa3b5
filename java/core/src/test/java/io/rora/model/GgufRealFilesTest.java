package io.rora.model;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.rora.TestFiles;
import io.rora.config.ModelConfig;
import io.rora.config.RopeScaling;
import io.rora.kernels.DataType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Real GGUF files, most of them written by llama.cpp: every value is what the gguf package gives.
 */
class GgufRealFilesTest {
  private static final Path GOLDEN = Path.of("src/test/resources/golden/files/real.json");
  private static final int BLOCK_ROWS = 1000;

  @TempDir Path directory;

  private static Path file(String name) {
    return TestFiles.require("models/" + name);
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "tiny/bpe-IQ4_NL.gguf",
        "tiny/bpe-Q2_K.gguf",
        "tiny/bpe-Q3_K_M.gguf",
        "tiny/bpe-Q4_0.gguf",
        "tiny/bpe-Q4_K_M.gguf",
        "tiny/bpe-Q5_1.gguf",
        "tiny/bpe-Q5_K_M.gguf",
        "tiny/bpe-Q8_0.gguf",
        "tiny/bpe-llama3-tied-Q5_0.gguf",
        "tiny/spm-linear-Q4_K_M.gguf",
        "SmolLM2-135M-Instruct.Q4_1.gguf"
      })
  void everyValueIsThatOfTheReference(String name) throws IOException {
    JsonNode golden = new ObjectMapper().readTree(GOLDEN.toFile()).get(name);
    try (WeightSource source = WeightSource.open(file(name))) {
      assertEquals(golden.get("file").textValue(), source.sha256());
      Map<String, String> hashes = new TreeMap<>();
      for (String tensor : source.names()) {
        hashes.put(GgufNames.of(tensor), hash(source, tensor));
      }
      MessageDigest digest = sha256();
      hashes.forEach(
          (tensor, hash) ->
              digest.update((tensor + " " + hash + "\n").getBytes(StandardCharsets.UTF_8)));
      assertEquals(
          golden.get("tensors").textValue(),
          HexFormat.of().formatHex(digest.digest()),
          () -> name + ": " + hashes);
      checkConfig(name, source);
    }
  }

  private void checkConfig(String name, WeightSource source) throws IOException {
    ModelConfig config = source.config();
    ModelConfig again =
        ModelConfig.fromHuggingFace(
            Files.writeString(directory.resolve("config.json"), config.toHuggingFaceJson()));
    assertEquals(config.tensorShapes(), again.tensorShapes());
    assertTrue(source.quantised());
    assertEquals(DataType.F32, source.storageType());
    if (name.contains("llama3")) {
      assertTrue(config.tieWordEmbeddings());
      assertEquals(new RopeScaling.Llama3(8, 1, 4, 64), again.rope().scaling());
    } else if (name.contains("linear")) {
      assertEquals(new RopeScaling.Linear(2), config.rope().scaling());
    } else if (name.contains("SmolLM2")) {
      assertEquals(100000, config.rope().theta());
      assertEquals(3, config.kvHeads(29));
      assertEquals("Q8_0", source.describe("model.embed_tokens.weight"));
    }
  }

  private static String hash(WeightSource source, String tensor) throws IOException {
    long[] shape = source.shape(tensor);
    int length = shape.length == 1 ? 1 : (int) shape[1];
    ByteBuffer block =
        ByteBuffer.allocateDirect(BLOCK_ROWS * length * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    MessageDigest digest = sha256();
    for (long row = 0; row < shape[0]; row += BLOCK_ROWS) {
      source.readRows(
          tensor, row, Math.min(BLOCK_ROWS, shape[0] - row), block.clear(), DataType.F32);
      digest.update(block.flip());
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }
}
