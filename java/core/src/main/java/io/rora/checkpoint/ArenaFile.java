package io.rora.checkpoint;

import io.rora.files.DurableFiles.Body;
import io.rora.files.FileFormatException;
import io.rora.kernels.FloatArray;
import io.rora.safetensors.SafetensorsFile;
import io.rora.safetensors.SafetensorsType;
import io.rora.safetensors.SafetensorsWriter;
import io.rora.safetensors.SafetensorsWriter.Tensor;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Arenas of floats in one safetensors file, each as a flat F32 tensor: what a checkpoint keeps of
 * the optimiser.
 */
public final class ArenaFile {
  /** The optimiser's file in a checkpoint. */
  public static final String FILE = "optimizer.safetensors";

  private static final int CHUNK = 1 << 16;

  private ArenaFile() {}

  /** The content of a file that holds these arenas as they are when it is written. */
  public static Body body(Map<String, FloatArray> arenas) {
    Map<String, Tensor> tensors = new LinkedHashMap<>();
    arenas.forEach(
        (name, arena) ->
            tensors.put(name, new Tensor(name, SafetensorsType.F32, List.of(arena.length()))));
    float[] chunk = new float[CHUNK];
    return SafetensorsWriter.body(
        Map.of(),
        tensors.values(),
        (tensor, out) -> {
          FloatArray arena = arenas.get(tensor.name());
          for (long done = 0; done < arena.length(); done += CHUNK) {
            int count = (int) Math.min(CHUNK, arena.length() - done);
            arena.read(done, chunk, 0, count);
            out.writeFloats(chunk, 0, count);
          }
        });
  }

  /**
   * Fills arenas from a file.
   *
   * @throws FileFormatException if one is missing or of another length
   */
  public static void read(Path file, Map<String, FloatArray> arenas) throws IOException {
    try (SafetensorsFile tensors = SafetensorsFile.open(file)) {
      for (Map.Entry<String, FloatArray> entry : arenas.entrySet()) {
        read(tensors, entry.getKey(), entry.getValue());
      }
    }
  }

  private static void read(SafetensorsFile file, String name, FloatArray arena) throws IOException {
    if (!file.tensor(name).shape().equals(List.of(arena.length()))
        || file.tensor(name).type() != SafetensorsType.F32) {
      throw new FileFormatException(
          file.path(),
          name
              + " is "
              + file.tensor(name).type()
              + file.tensor(name).shape()
              + ", this run needs F32["
              + arena.length()
              + "]: the checkpoint belongs to another run");
    }
    ByteBuffer bytes =
        ByteBuffer.allocateDirect(CHUNK * Float.BYTES).order(ByteOrder.LITTLE_ENDIAN);
    float[] chunk = new float[CHUNK];
    for (long done = 0; done < arena.length(); done += CHUNK) {
      int count = (int) Math.min(CHUNK, arena.length() - done);
      bytes.clear().limit(count * Float.BYTES);
      file.read(name, done * Float.BYTES, bytes);
      bytes.flip();
      bytes.asFloatBuffer().get(chunk, 0, count);
      arena.write(done, chunk, 0, count);
    }
  }
}
