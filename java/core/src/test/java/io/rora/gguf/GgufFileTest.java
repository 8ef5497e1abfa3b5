package io.rora.gguf;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.files.FileFormatException;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class GgufFileTest {
  private static final Path GOLDEN = Path.of("src/test/resources/golden/files/tiny.gguf");
  private static final int F32 = 0;

  @TempDir Path directory;

  /** Two keys and two tensors, the second at an offset that needs padding. */
  private static GgufBytes small() {
    return GgufBytes.begin(2, 2)
        .key("general.architecture", "llama")
        .key("some.list.length", 7)
        .tensor("a", F32, 0, 3)
        .tensor("b", F32, 32, 2, 2)
        .align(32);
  }

  private Path write(byte[] bytes) throws IOException {
    return Files.write(directory.resolve("x.gguf"), bytes);
  }

  private String refusal(GgufBytes bytes) throws IOException {
    return refusal(write(bytes.raw(new byte[4096]).bytes()));
  }

  private static String refusal(Path file) {
    FileFormatException e =
        assertThrows(FileFormatException.class, () -> GgufFile.open(file).close());
    assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
    return e.getMessage();
  }

  private void refused(String part, GgufBytes bytes) throws IOException {
    String message = refusal(bytes);
    assertTrue(message.contains(part), message);
  }

  @Test
  void readsMetadataThatTheReferenceWrote() throws IOException {
    try (GgufFile file = GgufFile.open(GOLDEN)) {
      GgufMetadata metadata = file.metadata();
      assertEquals(3, file.version());
      assertEquals("llama", metadata.string("general.architecture"));
      assertEquals(2, metadata.integer("llama.block_count", 1, 10));
      assertEquals(500000, metadata.number("llama.rope.freq_base"));
      assertEquals(1e-5f, (float) metadata.number("llama.attention.layer_norm_rms_epsilon"));
      assertEquals("t39", metadata.strings("tokenizer.ggml.tokens").get(39));
      assertArrayEquals(new float[] {0.5f, 1.5f}, metadata.floats("test.floats"));
      assertTrue(metadata.bool("test.bool", false));
      assertEquals(-3, metadata.integer("test.int8", -5, 5));
      assertEquals(0.1, metadata.number("test.float64"));
      assertThrows(FileFormatException.class, () -> metadata.integer("test.uint64", 0, 9));
      assertFalse(metadata.has("absent"));
      assertEquals(9, metadata.integer("absent", 0, 9, 9));
      assertTrue(metadata.isList("test.nested"));
      FileFormatException e =
          assertThrows(FileFormatException.class, () -> metadata.string("llama.block_count"));
      assertTrue(
          e.getMessage().endsWith("the metadata key llama.block_count is 2, expected a string"),
          e.getMessage());
      assertEquals(List.of(40L, 32L), file.tensors().get("token_embd.weight").shape());
      assertEquals(GgufType.F32, file.tensors().get("token_embd.weight").type());
    }
  }

  @Test
  void aFileCutAtAnyByteIsRefused() throws IOException {
    byte[] whole = small().raw(new byte[48]).bytes();
    GgufFile.open(write(whole)).close();
    for (int length = 0; length < whole.length; length++) {
      String message = refusal(write(Arrays.copyOf(whole, length)));
      assertTrue(
          message.contains("cut short")
              || message.contains("damaged")
              || message.contains("tensors"),
          message);
    }
  }

  /**
   * Whatever stands in a byte, opening either works or says what is wrong: nothing else is thrown.
   */
  @Test
  void aFileWithAnyByteChangedOpensOrIsRefused() throws IOException {
    byte[] whole = small().raw(new byte[48]).bytes();
    for (int at = 0; at < whole.length - 48; at++) {
      for (int value : new int[] {0, 9, 0x40, 0xff, whole[at] ^ 1}) {
        byte[] changed = whole.clone();
        changed[at] = (byte) value;
        Path file = write(changed);
        try (GgufFile opened = GgufFile.open(file)) {
          assertTrue(opened.tensors().size() <= 2, "no tensor comes from nowhere");
        } catch (FileFormatException e) {
          assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
        }
      }
    }
  }

  @Test
  void otherVersionsAndByteOrdersAreRefused() throws IOException {
    byte[] bytes = small().raw(new byte[48]).bytes();
    bytes[4] = 1;
    assertTrue(refusal(write(bytes)).contains("is of GGUF version 1; versions 2 and 3"));
    bytes[4] = 0;
    bytes[7] = 3;
    assertTrue(refusal(write(bytes)).contains("big-endian"));
    bytes[0] = 'X';
    assertTrue(refusal(write(bytes)).contains("is not a GGUF file"));
  }

  @Test
  void hostileCountsAreRefusedWithoutAllocating() throws IOException {
    for (long count : new long[] {-1, Long.MAX_VALUE, 1L << 40, 1 << 30, 200}) {
      refused("the number of tensors is", GgufBytes.begin(count, 0));
      refused(
          "the number of metadata keys is",
          GgufBytes.begin(0, count > 200 || count < 0 ? count : 400));
      refused(
          "metadata key 0 would have", GgufBytes.begin(0, 1).int64(count == 200 ? 5000 : count));
      for (int type : new int[] {0, 4, 8, 9, 12}) {
        GgufBytes list =
            GgufBytes.begin(0, 1)
                .string("k")
                .int32(9)
                .int32(type)
                .int64(count == 200 ? 5000 : count);
        refused("the length of the value of k is", list);
      }
    }
  }

  /** A sparse file is as long as a hostile count wants, but nothing in a model's metadata is. */
  @Test
  void countsAreBoundedInHugeFilesToo() throws IOException {
    Path file =
        write(GgufBytes.begin(0, 1).string("k").int32(9).int32(0).int64((1 << 24) + 1).bytes());
    try (RandomAccessFile sparse = new RandomAccessFile(file.toFile(), "rw")) {
      sparse.setLength(1L << 33);
    }
    String message = refusal(file);
    assertTrue(message.contains("more than the file can hold or a model needs"), message);
  }

  @Test
  void deeplyNestedListsAreRefused() throws IOException {
    GgufBytes bytes = GgufBytes.begin(0, 1).string("k").int32(9);
    for (int i = 0; i < 100; i++) {
      bytes.int32(9).int64(1);
    }
    refused("nested more than 4 deep", bytes);
  }

  @Test
  void wrongMetadataIsRefused() throws IOException {
    refused("the value of k has the unknown type 13", GgufBytes.begin(0, 1).string("k").int32(13));
    refused(
        "is a list of the unknown type 99",
        GgufBytes.begin(0, 1).string("k").int32(9).int32(99).int64(1));
    refused("the metadata key k stands there twice", GgufBytes.begin(0, 2).key("k", 1).key("k", 2));
    refused(
        "is the byte 2, expected true",
        GgufBytes.begin(0, 1).string("k").int32(7).raw(new byte[] {2}));
    refused(
        "is not UTF-8 text: wrong at byte 1",
        GgufBytes.begin(0, 1).int64(2).raw(new byte[] {'a', (byte) 0xff}).int32(4).int32(1));
    refused(
        "general.alignment is 24, expected a power of two",
        GgufBytes.begin(0, 1).key("general.alignment", 24));
    refused("general.alignment is 0", GgufBytes.begin(0, 1).key("general.alignment", 0));
  }

  @Test
  void wrongTensorsAreRefused() throws IOException {
    refused(
        "the tensor a is of type IQ2_XXS, which cannot be read; supported are F32, F16, Q4_0",
        GgufBytes.begin(1, 0).tensor("a", 16, 0, 256));
    refused("is of type number 4294967295", GgufBytes.begin(1, 0).tensor("a", -1, 0, 256));
    refused("has 0 dimensions", GgufBytes.begin(1, 0).tensor("a", F32, 0));
    refused("has 5 dimensions", GgufBytes.begin(1, 0).tensor("a", F32, 0, 1, 1, 1, 1, 1));
    refused("impossible shape [0]", GgufBytes.begin(1, 0).tensor("a", F32, 0, 0));
    refused("impossible shape", GgufBytes.begin(1, 0).tensor("a", F32, 0, -4));
    refused("impossible shape", GgufBytes.begin(1, 0).tensor("a", F32, 0, 1L << 31, 1L << 31, 4));
    refused("no multiple of a Q4_0 block's 32", GgufBytes.begin(1, 0).tensor("a", 2, 0, 48));
    refused("no multiple of the alignment 32", GgufBytes.begin(1, 0).tensor("a", F32, 8, 4));
    refused(
        "begins at offset 18446744073709551584", GgufBytes.begin(1, 0).tensor("a", F32, -32, 4));
    refused("is cut short: the tensor a", GgufBytes.begin(1, 0).tensor("a", F32, 1 << 20, 4));
    refused("is cut short: the tensor a", GgufBytes.begin(1, 0).tensor("a", F32, 0, 1 << 20));
    refused(
        "the tensors a and b overlap",
        GgufBytes.begin(2, 0).tensor("a", F32, 0, 9).tensor("b", F32, 32, 4));
    refused(
        "the tensor a is described twice",
        GgufBytes.begin(2, 0).tensor("a", F32, 0, 4).tensor("a", F32, 32, 4));
  }

  @Test
  void otherAlignmentsAreKept() throws IOException {
    GgufBytes bytes =
        GgufBytes.begin(1, 1).key("general.alignment", 4096).tensor("a", F32, 4096, 1).align(4096);
    int data = bytes.size();
    try (GgufFile file = GgufFile.open(write(bytes.raw(new byte[5000]).bytes()))) {
      assertEquals(data + 4096, file.tensors().get("a").offset());
    }
  }

  @Test
  void aFileCutShortWhileItIsReadIsAnError() throws IOException {
    Path path = write(small().raw(new byte[48]).bytes());
    try (GgufFile file = GgufFile.open(path)) {
      try (RandomAccessFile shorter = new RandomAccessFile(path.toFile(), "rw")) {
        shorter.setLength(shorter.length() - 8);
      }
      ByteBuffer target = ByteBuffer.allocate(16).order(ByteOrder.LITTLE_ENDIAN);
      IOException e =
          assertThrows(IOException.class, () -> file.read(file.tensors().get("b"), 0, target));
      assertTrue(e.getMessage().contains("cut short or replaced meanwhile"), e.getMessage());
    }
  }
}
