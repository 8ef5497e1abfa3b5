package io.rora.safetensors;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.files.DurableFiles;
import io.rora.files.FileFormatException;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SafetensorsFileTest {
  private static final Path MIXED = Path.of("src/test/resources/golden/files/mixed.safetensors");
  private static final String TINY =
      "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,8]},'b':{'dtype':'BF16','shape':[],'data_offsets':[8,10]}}";

  @TempDir Path directory;

  private Path write(String header, int dataBytes) throws IOException {
    return write(header.replace('\'', '"').getBytes(StandardCharsets.UTF_8), dataBytes);
  }

  private Path write(byte[] header, int dataBytes) throws IOException {
    ByteBuffer bytes =
        ByteBuffer.allocate(8 + header.length + dataBytes).order(ByteOrder.LITTLE_ENDIAN);
    bytes.putLong(header.length).put(header);
    return Files.write(directory.resolve("x.safetensors"), bytes.array());
  }

  private static String refusal(Path file) {
    FileFormatException e =
        assertThrows(FileFormatException.class, () -> SafetensorsFile.open(file).close());
    assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
    return e.getMessage();
  }

  @Test
  void readsWhatTheReferenceWrote() throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(MIXED)) {
      assertEquals(Map.of("format", "pt"), file.metadata());
      assertEquals(10, file.tensors().size());
      assertEquals(List.of(5L, 7L), file.tensor("matrix").shape());
      assertEquals(SafetensorsType.I64, file.tensor("ids").type());
      assertArrayEquals(file.readFloats("half.values"), file.readFloats("half"));
      assertArrayEquals(file.readFloats("brain.values"), file.readFloats("brain"));
      assertArrayEquals(new float[] {2.5f}, file.readFloats("scalar"));
      assertEquals(0, file.readFloats("empty").length);
      assertArrayEquals(new float[] {1}, file.readFloats("name with \"quotes\" and ü"));
      ByteBuffer mask = ByteBuffer.allocateDirect(4);
      file.read("mask", 2, mask);
      assertEquals(ByteBuffer.wrap(new byte[] {2, 3, 4, 5}), mask.flip());
      FileFormatException e = assertThrows(FileFormatException.class, () -> file.readFloats("ids"));
      assertTrue(
          e.getMessage().endsWith("ids has dtype I64; weights are read from F32, F16 and BF16"),
          e.getMessage());
      assertThrows(IllegalArgumentException.class, () -> file.read("mask", 3, mask.clear()));
    }
  }

  @Test
  void writesWhatTheReferenceWrites() throws IOException {
    Path copy = directory.resolve("copy.safetensors");
    try (SafetensorsFile file = SafetensorsFile.open(MIXED)) {
      List<SafetensorsWriter.Tensor> tensors = new ArrayList<>();
      file.tensors()
          .values()
          .forEach(t -> tensors.add(new SafetensorsWriter.Tensor(t.name(), t.type(), t.shape())));
      new DurableFiles()
          .write(
              copy,
              SafetensorsWriter.body(
                  file.metadata(),
                  tensors,
                  (tensor, out) -> {
                    ByteBuffer bytes = ByteBuffer.allocate((int) tensor.bytes());
                    file.read(tensor.name(), 0, bytes);
                    out.write(bytes.flip());
                  }));
    }
    assertArrayEquals(Files.readAllBytes(MIXED), Files.readAllBytes(copy));
  }

  @Test
  void floatsAreWrittenInTheTypeAskedForWiderTypesFirst() throws IOException {
    float[] values = new float[50_000];
    for (int i = 0; i < values.length; i++) {
      values[i] = (i - 25_000) / 1024f;
    }
    List<SafetensorsWriter.Tensor> tensors = new ArrayList<>();
    for (SafetensorsType type :
        List.of(SafetensorsType.F16, SafetensorsType.F32, SafetensorsType.BF16)) {
      tensors.add(new SafetensorsWriter.Tensor(type.name(), type, List.of(5L, 10_000L)));
    }
    Path path = directory.resolve("f.safetensors");
    new DurableFiles()
        .write(
            path,
            SafetensorsWriter.body(
                Map.of(),
                tensors,
                (tensor, out) -> {
                  out.writeFloats(values, 0, 1);
                  out.writeFloats(values, 1, values.length - 1);
                }));
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      assertEquals(List.of("F32", "F16", "BF16"), List.copyOf(file.tensors().keySet()));
      assertArrayEquals(values, file.readFloats("F32"));
      assertArrayEquals(values, file.readFloats("F16"), 0.01f);
      assertArrayEquals(values, file.readFloats("BF16"), 0.1f);
    }
    long header =
        ByteBuffer.wrap(Files.readAllBytes(path)).order(ByteOrder.LITTLE_ENDIAN).getLong(0);
    assertEquals(0, header % 8);
  }

  @Test
  void aSourceThatGivesTooLittleOrTooMuchIsAnErrorAndLeavesNoFile() {
    SafetensorsWriter.Tensor tensor =
        new SafetensorsWriter.Tensor("a", SafetensorsType.F32, List.of(4L));
    for (int count : new int[] {3, 5}) {
      DurableFiles.Body body =
          SafetensorsWriter.body(
              Map.of(), List.of(tensor), (t, out) -> out.writeFloats(new float[5], 0, count));
      assertThrows(
          IllegalStateException.class,
          () -> new DurableFiles().write(directory.resolve("a"), body));
      assertEquals(0, directory.toFile().list().length);
    }
    assertThrows(
        IllegalArgumentException.class,
        () -> SafetensorsWriter.body(Map.of(), List.of(tensor, tensor), (t, out) -> {}));
  }

  @Test
  void aFileCutAtAnyByteIsRefused() throws IOException {
    byte[] whole = Files.readAllBytes(write(TINY, 10));
    SafetensorsFile.open(directory.resolve("x.safetensors")).close();
    for (int length = 0; length < whole.length; length++) {
      refusal(Files.write(directory.resolve("cut.safetensors"), Arrays.copyOf(whole, length)));
    }
    String longer =
        refusal(
            Files.write(
                directory.resolve("cut.safetensors"), Arrays.copyOf(whole, whole.length + 1)));
    assertTrue(longer.contains("describes 10 bytes of data, the file has 11"), longer);
  }

  /**
   * Whatever stands in a byte, opening either works or says what is wrong: nothing else is thrown.
   */
  @Test
  void aFileWithAnyByteChangedOpensOrIsRefused() throws IOException {
    byte[] whole = Files.readAllBytes(write(TINY, 10));
    Path file = directory.resolve("bad.safetensors");
    for (int at = 0; at < whole.length - 10; at++) {
      for (int value : new int[] {0, '"', '9', '}', 0xff, whole[at] ^ 1}) {
        byte[] changed = whole.clone();
        changed[at] = (byte) value;
        Files.write(file, changed);
        try (SafetensorsFile opened = SafetensorsFile.open(file)) {
          assertEquals(2, opened.tensors().size());
        } catch (FileFormatException e) {
          assertTrue(e.getMessage().startsWith(file.toString()), e.getMessage());
        }
      }
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '~',
      value = {
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'a':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}}"
            + " | 8 | Duplicate",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'b':{'dtype':'F32','shape':[1],'data_offsets':[5,9]}}"
            + " | 9 | without holes",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]},'b':{'dtype':'F32','shape':[1],'data_offsets':[3,7]}}"
            + " | 7 | without overlaps",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[4,8]}} | 8 | without holes",
        "{'a':{'dtype':'F32','shape':[2],'data_offsets':[0,4]}} | 4 | needs 8 bytes, its"
            + " data_offsets give 4",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[4,0]}} | 4 | before it begins",
        "{'a':{'dtype':'F32','shape':[-1],'data_offsets':[0,4]}} | 4 | holds -1",
        "{'a':{'dtype':'F32','shape':[1.0],'data_offsets':[0,4]}} | 4 | holds 1.0",
        "{'a':{'dtype':'F32','shape':[4294967296,4294967296],'data_offsets':[0,0]}} | 0 | more"
            + " elements than a file can hold",
        "{'a':{'dtype':'F32','shape':[99999999999999999999],'data_offsets':[0,4]}} | 4 | holds"
            + " 99999999999999999999",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,9223372036854775807]}} | 4 | needs 4"
            + " bytes",
        "{'a':{'dtype':'F32','shape':[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1],'data_offsets':[0,4]}} | 4"
            + " | more than 16",
        "{'a':{'dtype':'F8_E9','shape':[1],'data_offsets':[0,4]}} | 4 | unknown dtype ~F8_E9~",
        "{'a':{'dtype':'F4','shape':[3],'data_offsets':[0,2]}} | 2 | needs 2 bytes",
        "{'a':{'dtype':'F32','shape':[1]}} | 4 | lacks one of",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4],'x':1}} | 4 | unknown field",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4,4]}} | 4 | has 3 numbers",
        "{'a':[1]} | 4 | expected an object",
        "{'__metadata__':{'k':1}} | 0 | expected a string",
        "{'a':{'dtype':{'x':{'y':{'z':1}}},'shape':[1],'data_offsets':[0,4]}} | 4 | expected a"
            + " string",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}} | 8 | describes 4 bytes of data,"
            + " the file has 8",
        "{'a':{'dtype':'F32','shape':[1],'data_offsets':[0,4]}} x | 4 | not valid JSON",
        "[] | 0 | does not start with",
        "{} | 1 | describes 0 bytes"
      })
  void hostileHeadersAreRefused(String header, int dataBytes, String part) throws IOException {
    String message = refusal(write(header, dataBytes));
    assertTrue(message.contains(part.replace('~', '"')), message);
  }

  @Test
  void aNameThatIsNotUtf8IsRefused() throws IOException {
    byte[] header = TINY.replace('\'', '"').getBytes(StandardCharsets.UTF_8);
    header[2] = (byte) 0xe9;
    assertTrue(refusal(write(header, 10)).contains("is not UTF-8 text: wrong at byte 2"));
  }

  @Test
  void lengthsThatNoHeaderHasAreRefused() throws IOException {
    for (long length : new long[] {0, 1, -1, Long.MIN_VALUE, 100_000_001, 1L << 40}) {
      ByteBuffer bytes = ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN).putLong(0, length);
      String message = refusal(Files.write(directory.resolve("x"), bytes.array()));
      assertTrue(
          message.contains("its header would have " + Long.toUnsignedString(length)), message);
    }
    ByteBuffer bytes = ByteBuffer.allocate(64).order(ByteOrder.LITTLE_ENDIAN).putLong(0, 57);
    assertTrue(
        refusal(Files.write(directory.resolve("x"), bytes.array())).contains("is cut short"));
  }

  @Test
  void aFileCutShortWhileItIsReadIsAnError() throws IOException {
    Path path = write("{'a':{'dtype':'U8','shape':[200000],'data_offsets':[0,200000]}}", 200_000);
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      try (FileChannel channel = FileChannel.open(path, StandardOpenOption.WRITE)) {
        channel.truncate(100_000);
      }
      ByteBuffer target = ByteBuffer.allocateDirect(200_000);
      IOException e = assertThrows(IOException.class, () -> file.read("a", 0, target));
      assertTrue(e.getMessage().contains("it was cut short or replaced meanwhile"), e.getMessage());
    }
  }

  @Test
  void valuesThatAreNotFiniteAreRefusedByName() throws IOException {
    Path path = directory.resolve("nan.safetensors");
    SafetensorsWriter.Tensor tensor =
        new SafetensorsWriter.Tensor("w", SafetensorsType.F16, List.of(3L));
    new DurableFiles()
        .write(
            path,
            SafetensorsWriter.body(
                Map.of(),
                List.of(tensor),
                (t, out) -> out.writeFloats(new float[] {1, 1e9f, 2}, 0, 3)));
    try (SafetensorsFile file = SafetensorsFile.open(path)) {
      IOException e = assertThrows(IOException.class, () -> file.readFloats("w"));
      assertTrue(e.getMessage().contains("w element 1 is Infinity"), e.getMessage());
    }
  }
}
