package io.rora.adapter;

import io.rora.files.DurableFiles;
import io.rora.files.FileFormatException;
import io.rora.kernels.DataType;
import io.rora.model.HuggingFaceWriter;
import io.rora.model.WeightSource;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.Map;
import java.util.stream.IntStream;
import java.util.stream.Stream;

/**
 * Merges an adapter into its base: W + gamma B A, for DoRA (m / |V|) o (W + gamma B A), computed in
 * float32 and written as a Hugging Face directory. Weights stream through, so memory does not grow
 * with the model.
 */
public final class AdapterMerge {
  private static final int CHUNK_BYTES = 1 << 23;

  private final WeightSource base;
  private final SavedAdapter adapter;
  private final MergeListener listener;
  private final Map<String, AdapterModule> modules = new HashMap<>();
  private final ByteBuffer bytes =
      ByteBuffer.allocateDirect(CHUNK_BYTES).order(ByteOrder.nativeOrder());
  private AdapterModule current;
  private float[] loraA;
  private float[] loraB;
  private float[] magnitude;
  private int tensors;

  private AdapterMerge(WeightSource base, SavedAdapter adapter, MergeListener listener) {
    this.base = base;
    this.adapter = adapter;
    this.listener = listener;
    adapter.modules().forEach(module -> modules.put(module.path() + ".weight", module));
  }

  /**
   * Merges.
   *
   * @param model a Hugging Face directory or a GGUF file
   * @param adapter an adapter's directory
   * @param out the directory to be written; must be absent or empty. It is there entirely or not at
   *     all.
   * @param type what is written; null for the base's type, F32 where it is quantised
   * @throws IOException if a file cannot be read or written, or a result is not finite
   */
  public static void merge(
      Path model, Path adapter, Path out, DataType type, MergeListener listener)
      throws IOException {
    merge(new DurableFiles(), model, adapter, out, type, listener);
  }

  static void merge(
      DurableFiles files, Path model, Path adapter, Path out, DataType type, MergeListener listener)
      throws IOException {
    requireEmpty(out);
    try (WeightSource base = WeightSource.open(model);
        SavedAdapter saved = SavedAdapter.open(adapter)) {
      saved.requireFor(base.config());
      AdapterMerge merge = new AdapterMerge(base, saved, listener);
      HuggingFaceWriter writer = new HuggingFaceWriter(base, type);
      files.writeDirectory(out, folder -> writer.write(folder::write, merge::readRows));
    } catch (ArithmeticException e) {
      throw new FileFormatException(out, "was not written: " + e.getMessage());
    }
  }

  private static void requireEmpty(Path out) throws IOException {
    if (!Files.exists(out)) {
      return;
    }
    if (!Files.isDirectory(out)) {
      throw new FileFormatException(out, "is a file; name a directory that does not exist yet");
    }
    try (Stream<Path> entries = Files.list(out)) {
      if (entries.findAny().isPresent()) {
        throw new FileFormatException(
            out, "is not empty; name a directory that does not exist yet");
      }
    }
  }

  private void readRows(String name, long row, int rows, float[] target) throws IOException {
    AdapterModule module = modules.get(name);
    if (row == 0) {
      listener.onTensor(name, tensors++, base.names().size());
      load(module);
    }
    long[] shape = base.shape(name);
    int width = shape.length == 1 ? 1 : Math.toIntExact(shape[1]);
    readBase(name, row, rows, width, target);
    if (module != null) {
      IntStream.range(0, rows).parallel().forEach(i -> mergeRow(module, row, i, target));
    }
  }

  private void readBase(String name, long row, int rows, int width, float[] target)
      throws IOException {
    int block = CHUNK_BYTES / Float.BYTES / width;
    if (block == 0) {
      throw new FileFormatException(base.path(), name + ": its rows are too long to merge");
    }
    for (int done = 0; done < rows; done += block) {
      int now = Math.min(block, rows - done);
      bytes.clear();
      base.readRows(name, row + done, now, bytes, DataType.F32);
      bytes.flip();
      bytes.asFloatBuffer().get(target, done * width, now * width);
    }
  }

  private void load(AdapterModule module) throws IOException {
    if (module != null && !module.equals(current)) {
      current = module;
      loraA = adapter.loraA(module);
      loraB = adapter.loraB(module);
      magnitude = adapter.config().dora() ? adapter.magnitude(module) : null;
    }
  }

  /** Row i of the block: w + gamma (b A), and for DoRA that times m / |v|. */
  private void mergeRow(AdapterModule module, long row, int i, float[] target) {
    int width = module.inFeatures();
    int rank = module.rank();
    int weightRow = (int) (row + i);
    float[] delta = new float[width];
    for (int k = 0; k < rank; k++) {
      addScaled(loraB[weightRow * rank + k], loraA, k * width, delta);
    }
    float gamma = (float) module.gamma();
    int at = i * width;
    double squares = 0;
    for (int j = 0; j < width; j++) {
      float v = target[at + j] + gamma * delta[j];
      target[at + j] = v;
      squares += (double) v * v;
    }
    if (magnitude != null) {
      float factor = (float) (magnitude[weightRow] / Math.sqrt(squares));
      for (int j = 0; j < width; j++) {
        target[at + j] *= factor;
      }
    }
  }

  private static void addScaled(float scale, float[] source, int from, float[] target) {
    for (int j = 0; j < target.length; j++) {
      target[j] += scale * source[from + j];
    }
  }
}
