package io.rora.files;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class FileReaderTest {
  @TempDir Path directory;

  @Test
  void readsLargeBuffersWhole() throws IOException {
    byte[] bytes = new byte[3_500_001];
    for (int i = 0; i < bytes.length; i++) {
      bytes[i] = (byte) (i * 31);
    }
    Path file = Files.write(directory.resolve("f"), bytes);
    try (FileReader reader = FileReader.open(file)) {
      byte[] read = new byte[bytes.length];
      reader.read(0, ByteBuffer.wrap(read));
      assertArrayEquals(bytes, read);
    }
  }

  @Test
  void aFileCutShortWhileOpenIsAnErrorThatSaysSo() throws IOException {
    Path file = Files.write(directory.resolve("f"), new byte[1000]);
    try (FileReader reader = FileReader.open(file)) {
      try (FileChannel channel = FileChannel.open(file, StandardOpenOption.WRITE)) {
        channel.truncate(500);
      }
      reader.read(0, ByteBuffer.allocate(500));
      IOException e =
          assertThrows(IOException.class, () -> reader.read(400, ByteBuffer.allocateDirect(200)));
      assertTrue(e.getMessage().contains("ends at byte 500, but had 1000"), e.getMessage());
    }
  }

  @Test
  void whatIsNotAFileIsNamed() {
    IOException missing =
        assertThrows(IOException.class, () -> FileReader.open(directory.resolve("f")));
    assertTrue(missing.getMessage().endsWith("there is no such file"), missing.getMessage());
    IOException folder = assertThrows(IOException.class, () -> FileReader.open(directory));
    assertTrue(folder.getMessage().contains("is a directory"), folder.getMessage());
  }
}
