package io.rora.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.files.DurableFiles;
import io.rora.files.FileSink;
import io.rora.kernels.DataType;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class HuggingFaceWriterTest {
  @TempDir Path folder;

  @ParameterizedTest
  @CsvSource({"1000000000, 1", "40000, 2", "1, 28"})
  void shardsHoldEveryTensorAsItWas(long shardBytes, int minimum)
      throws IOException, URISyntaxException {
    Path model = Path.of(getClass().getResource("/golden/full/model").toURI());
    try (WeightSource source = WeightSource.open(model)) {
      new HuggingFaceWriter(source, null, shardBytes)
          .write(
              FileSink.into(new DurableFiles(), folder),
              (name, row, rows, target) -> read(source, name, row, rows, target));
      try (WeightSource written = WeightSource.open(folder);
          var files = Files.list(folder)) {
        long shards = files.filter(f -> f.toString().endsWith(".safetensors")).count();
        assertTrue(shards >= minimum, shards + " shards");
        assertEquals(shards > 1, Files.exists(folder.resolve("model.safetensors.index.json")));
        for (String name : source.names()) {
          assertArrayEquals(source.readFloats(name), written.readFloats(name), name);
        }
      }
    }
  }

  private static void read(WeightSource source, String name, long row, int rows, float[] target)
      throws IOException {
    long[] shape = source.shape(name);
    int width = shape.length == 1 ? 1 : (int) shape[1];
    ByteBuffer bytes = ByteBuffer.allocate(rows * width * 4).order(ByteOrder.nativeOrder());
    source.readRows(name, row, rows, bytes, DataType.F32);
    bytes.flip().asFloatBuffer().get(target, 0, rows * width);
  }
}
