package io.rora.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.config.ModelConfig;
import io.rora.config.RopeScaling;
import io.rora.files.FileFormatException;
import io.rora.gguf.GgufBytes;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A model of one layer, two heads of width 2 and hidden size 4, written byte by byte. */
class GgufSourceTest {
  private static final int F32 = 0;

  @TempDir Path directory;

  private final Map<String, Object> keys = new LinkedHashMap<>();
  private final Map<String, long[]> tensors = new LinkedHashMap<>();
  private int badElement = -1;

  @BeforeEach
  void makeModel() {
    keys.put("general.architecture", "llama");
    keys.put("llama.block_count", 1);
    keys.put("llama.embedding_length", 4);
    keys.put("llama.feed_forward_length", 3);
    keys.put("llama.attention.head_count", 2);
    keys.put("llama.attention.layer_norm_rms_epsilon", 1e-5f);
    keys.put("llama.context_length", 64);
    tensors.put("token_embd.weight", new long[] {4, 5});
    tensors.put("output_norm.weight", new long[] {4});
    for (String name : List.of("attn_q", "attn_k", "attn_v", "attn_output")) {
      tensors.put("blk.0." + name + ".weight", new long[] {4, 4});
    }
    tensors.put("blk.0.ffn_gate.weight", new long[] {4, 3});
    tensors.put("blk.0.ffn_up.weight", new long[] {4, 3});
    tensors.put("blk.0.ffn_down.weight", new long[] {3, 4});
    tensors.put("blk.0.attn_norm.weight", new long[] {4});
    tensors.put("blk.0.ffn_norm.weight", new long[] {4});
  }

  /** Writes the model; every tensor counts up from 1 in the order of the file. */
  private Path write() throws IOException {
    GgufBytes bytes = GgufBytes.begin(tensors.size(), keys.size());
    keys.forEach((key, value) -> put(bytes, key, value));
    long offset = 0;
    for (Map.Entry<String, long[]> tensor : tensors.entrySet()) {
      bytes.tensor(tensor.getKey(), F32, offset, tensor.getValue());
      offset += (elements(tensor.getValue()) * 4 + 31) / 32 * 32;
    }
    bytes.align(32);
    for (long[] shape : tensors.values()) {
      ByteBuffer values =
          ByteBuffer.allocate((int) elements(shape) * 4).order(ByteOrder.LITTLE_ENDIAN);
      for (int i = 0; i < elements(shape); i++) {
        values.putFloat(i == badElement ? Float.NaN : i + 1);
      }
      bytes.raw(values.array()).align(32);
    }
    return Files.write(directory.resolve("m.gguf"), bytes.bytes());
  }

  private static void put(GgufBytes bytes, String key, Object value) {
    if (value instanceof String text) {
      bytes.key(key, text);
    } else if (value instanceof Float number) {
      bytes.key(key, number);
    } else {
      bytes.key(key, (Integer) value);
    }
  }

  private static long elements(long[] shape) {
    return shape.length == 1 ? shape[0] : shape[0] * shape[1];
  }

  private void refused(String part) throws IOException {
    Path file = write();
    String message =
        assertThrows(FileFormatException.class, () -> WeightSource.open(file).close()).getMessage();
    assertTrue(message.startsWith(file.toString()) && message.contains(part), message);
  }

  private void refusedWith(String key, Object value, String part) throws IOException {
    Object before = keys.put(key, value);
    refused(part);
    if (before == null) {
      keys.remove(key);
    } else {
      keys.put(key, before);
    }
  }

  @Test
  void absentKeysHaveLlamaCppsDefaults() throws IOException {
    try (WeightSource source = WeightSource.open(write())) {
      ModelConfig config = source.config();
      assertEquals(2, config.headDim());
      assertEquals(List.of(2), config.keyValueHeads());
      assertEquals(5, config.vocabSize());
      assertEquals(10000, config.rope().theta());
      assertTrue(config.tieWordEmbeddings(), "without output.weight the head is tied");
      assertFalse(config.attentionBias() || config.mlpBias());
      assertEquals(OptionalInt.empty(), config.bosTokenId());
      assertEquals(List.of(), source.stopTokenIds());
    }
  }

  @Test
  void onlyQueryAndKeyRowsArePutInHuggingFacesOrder() throws IOException {
    keys.put("llama.attention.key_length", 4);
    keys.put("llama.attention.value_length", 4);
    keys.put("llama.attention.head_count", 1);
    try (WeightSource source = WeightSource.open(write())) {
      float[] inFile = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};
      float[] rotated = {1, 2, 3, 4, 9, 10, 11, 12, 5, 6, 7, 8, 13, 14, 15, 16};
      assertArrayEquals(rotated, source.readFloats("model.layers.0.self_attn.q_proj.weight"));
      assertArrayEquals(rotated, source.readFloats("model.layers.0.self_attn.k_proj.weight"));
      assertArrayEquals(inFile, source.readFloats("model.layers.0.self_attn.v_proj.weight"));
      assertArrayEquals(inFile, source.readFloats("model.layers.0.self_attn.o_proj.weight"));
    }
  }

  @Test
  void otherArithmeticIsRefusedByName() throws IOException {
    refusedWith(
        "general.architecture", "gemma", "general.architecture is gemma; supported is llama");
    refusedWith("split.count", 3, "join them with llama-gguf-split --merge");
    refusedWith("llama.expert_count", 8, "llama.expert_count is 8.0, which is not supported");
    refusedWith("llama.attention.sliding_window", 4096, "sliding_window");
    refusedWith(
        "llama.rope.dimension_count",
        1,
        "llama.rope.dimension_count is 1; only the width of a head, 2");
    refusedWith("llama.attention.head_count", 3, "llama.attention.key_length is missing");
    refusedWith("llama.attention.head_count_kv", 0, "expected a whole number of at least 1");
    refusedWith("llama.vocab_size", 6, "token_embd.weight has 5 rows");
    refusedWith("llama.block_count", "x", "is x, expected a whole number");
    refusedWith("llama.block_count", 2, "the tensor model.layers.1.");
    refusedWith(
        "llama.feed_forward_length", 9, "has shape [3, 4], the configuration asks for [9, 4]");
    keys.put("llama.rope.scaling.factor", 4f);
    refusedWith(
        "llama.rope.scaling.type",
        "yarn",
        "llama.rope.scaling.type is yarn with factor 4.0; linear is supported");
    keys.remove("llama.rope.scaling.factor");
    tensors.put("blk.0.ffn_gate_inp.weight", new long[] {4, 8});
    refused("holds the tensor blk.0.ffn_gate_inp.weight, which a plain LLaMA model does not have");
    tensors.remove("blk.0.ffn_gate_inp.weight");
    tensors.remove("token_embd.weight");
    refused("there is no matrix token_embd.weight");
  }

  @Test
  void aFactorWithoutATypeIsLinearScaling() throws IOException {
    keys.put("llama.rope.scaling.factor", 4f);
    try (WeightSource source = WeightSource.open(write())) {
      assertEquals(new RopeScaling.Linear(4), source.config().rope().scaling());
    }
  }

  @Test
  void ropeDivisorsAreReadAndChecked() throws IOException {
    tensors.put("rope_freqs.weight", new long[] {1});
    try (WeightSource source = WeightSource.open(write())) {
      assertEquals(new RopeScaling.Divisors(List.of(1f)), source.config().rope().scaling());
    }
    tensors.put("rope_freqs.weight", new long[] {2});
    refused("rope_freqs.weight is F32 of shape [2], expected F32 of shape [1]");
    tensors.put("rope_freqs.weight", new long[] {1});
    badElement = 0;
    refused("rope divisor is NaN");
  }

  @Test
  void valuesThatAreNotFiniteAreRefusedNamingFileAndTensor() throws IOException {
    badElement = 7;
    Path file = write();
    try (WeightSource source = WeightSource.open(file)) {
      IOException e =
          assertThrows(
              FileFormatException.class,
              () -> source.readFloats("model.layers.0.mlp.up_proj.weight"));
      assertTrue(
          e.getMessage().startsWith(file + ": model.layers.0.mlp.up_proj.weight: element 7 is NaN"),
          e.getMessage());
    }
  }
}
