package io.rora.gguf;

import static org.junit.jupiter.api.Assertions.assertEquals;

import io.rora.safetensors.SafetensorsFile;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

class GgufDequantizerTest {
  private static final Path GOLDEN =
      Path.of("src/test/resources/golden/files/dequantised.safetensors");

  /**
   * Random blocks: scales are of every kind, infinities and NaN among them. Equal bit for bit, but
   * for NaN's payload.
   */
  @ParameterizedTest
  @EnumSource(value = GgufType.class, mode = EnumSource.Mode.EXCLUDE, names = "F32")
  void valuesAreThoseOfTheReference(GgufType type) throws IOException {
    try (SafetensorsFile file = SafetensorsFile.open(GOLDEN)) {
      ByteBuffer blocks = read(file, type + ".blocks");
      ByteBuffer expected = read(file, type + ".values");
      int count = blocks.remaining() / type.blockBytes();
      assertEquals(count * type.blockElements() * Float.BYTES, expected.remaining());
      byte[] shifted = new byte[blocks.remaining() + 3];
      blocks.get(shifted, 3, blocks.remaining());
      float[] found = new float[count * type.blockElements() + 5];
      GgufDequantizer.dequantize(type, count, shifted, 3, found, 5);
      for (int i = 0; i < count * type.blockElements(); i++) {
        float value = expected.getFloat();
        assertEquals(
            Float.floatToIntBits(value),
            Float.floatToIntBits(found[i + 5]),
            type + " value " + i + ": " + value + " and " + found[i + 5]);
      }
    }
  }

  private static ByteBuffer read(SafetensorsFile file, String name) throws IOException {
    ByteBuffer bytes =
        ByteBuffer.allocate((int) file.tensor(name).bytes()).order(ByteOrder.LITTLE_ENDIAN);
    file.read(name, 0, bytes);
    return bytes.flip();
  }
}
