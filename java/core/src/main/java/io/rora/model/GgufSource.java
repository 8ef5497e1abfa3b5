package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.files.FileFormatException;
import io.rora.gguf.GgufDequantizer;
import io.rora.gguf.GgufFile;
import io.rora.gguf.GgufTensor;
import io.rora.gguf.GgufType;
import io.rora.kernels.DataType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Collection;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * A LLaMA model in one GGUF file. Quantised tensors are dequantised as they are read. The file's
 * own layout is undone: names are Hugging Face's, and the rows of query and key weights, which
 * llama.cpp interleaves for its form of the rotary embedding, stand in Hugging Face's order. The
 * file stays open until it is closed.
 */
public final class GgufSource implements WeightSource {
  private final GgufFile file;
  private final ModelConfig config;
  private final Map<String, GgufTensor> tensors = new LinkedHashMap<>();

  private GgufSource(GgufFile file) throws IOException {
    this.file = file;

    this.config = new GgufConfig(file).read();
    for (String name : config.tensorShapes().keySet()) {
      GgufTensor tensor = file.tensors().get(GgufNames.of(name));
      if (tensor != null) {
        tensors.put(name, tensor);
      }
    }
    WeightFiles.check(
        file.path().toString(),
        config,
        name -> tensors.containsKey(name) ? tensors.get(name).shape() : null);
    refuseUnknown();
  }

  /**
   * Opens a file and checks all of it but the values.
   *
   * @throws FileFormatException saying what is wrong, and what to do
   */
  public static GgufSource open(Path path) throws IOException {
    GgufFile file = GgufFile.open(path);
    try {
      return new GgufSource(file);
    } catch (IOException | RuntimeException e) {
      file.close();
      throw e;
    }
  }

  private void refuseUnknown() throws FileFormatException {
    Set<String> known = new HashSet<>();
    tensors.values().forEach(tensor -> known.add(tensor.name()));
    for (String name : file.tensors().keySet()) {
      if (!known.contains(name) && !GgufNames.derived(name)) {
        throw new FileFormatException(
            file.path(),
            "holds the tensor "
                + name
                + ", which a plain LLaMA model does not have; only such models are supported");
      }
    }
  }

  /** Returns the file itself, for its tokenizer. */
  public GgufFile file() {
    return file;
  }

  @Override
  public Path path() {
    return file.path();
  }

  @Override
  public List<Path> files() {
    return List.of(file.path());
  }

  @Override
  public ModelConfig config() {
    return config;
  }

  @Override
  public List<Integer> stopTokenIds() {
    return config.eosTokenIds();
  }

  @Override
  public Collection<String> names() {
    return tensors.keySet();
  }

  @Override
  public boolean has(String name) {
    return tensors.containsKey(name);
  }

  @Override
  public long[] shape(String name) {
    return tensor(name).shape().stream().mapToLong(Long::longValue).toArray();
  }

  @Override
  public DataType typeOf(String name) {
    return plainType(tensor(name).type());
  }

  @Override
  public String describe(String name) {
    return tensor(name).type().name();
  }

  @Override
  public boolean quantised() {
    return tensors.values().stream().anyMatch(tensor -> tensor.type().quantised());
  }

  @Override
  public DataType storageType() {
    return WeightFiles.storageType(this);
  }

  @Override
  public String sha256() throws IOException {
    return WeightFiles.sha256(file.path());
  }

  @Override
  public void close() throws IOException {
    file.close();
  }

  private GgufTensor tensor(String name) {
    GgufTensor tensor = tensors.get(name);
    if (tensor == null) {
      throw new IllegalArgumentException(file.path() + ": there is no tensor " + name);
    }
    return tensor;
  }

  /** Returns the type that a file's type is computed from without loss. */
  private static DataType plainType(GgufType type) {
    return switch (type) {
      case F16 -> DataType.F16;
      case BF16 -> DataType.BF16;
      default -> DataType.F32;
    };
  }

  // ---- reading ----

  @Override
  public void readRows(String name, long row, long rows, ByteBuffer target, DataType targetType)
      throws IOException {
    long length = WeightFiles.rowLength(shape(name), row, rows, target, targetType);
    if (targetType != DataType.F32 && targetType != typeOf(name)) {
      throw new IllegalArgumentException(
          name + " is " + describe(name) + ", it cannot be read as " + targetType);
    }
    Rows reader = new Rows(tensor(name), length, file.path() + ": " + name);
    if (!GgufNames.interleaved(name)) {
      reader.read(row, rows, target, targetType);
      return;
    }
    for (long r = row; r < row + rows; r++) {
      reader.read(rowInFile(r), 1, target, targetType);
    }
  }

  /** Row j * half + i of a head stands in the file as row 2 i + j of it. */
  private long rowInFile(long row) {
    long head = row / config.headDim();
    long within = row % config.headDim();
    long half = config.headDim() / 2;
    return head * config.headDim() + 2 * (within % half) + within / half;
  }

  /** Reads rows in the order of the file. */
  private final class Rows {
    private final GgufTensor tensor;
    private final long length;
    private final String where;
    private byte[] blocks = {};
    private float[] values = {};

    Rows(GgufTensor tensor, long length, String where) {
      this.tensor = tensor;
      this.length = length;
      this.where = where;
    }

    void read(long row, long rows, ByteBuffer target, DataType targetType) throws IOException {
      if (tensor.type().quantised()) {
        dequantize(row * length, rows * length, target);
        return;
      }
      WeightFiles.readElements(
          (offset, bytes) -> file.read(tensor, offset, bytes),
          plainType(tensor.type()),
          row * length,
          rows * length,
          target,
          targetType,
          where);
    }

    /**
     * One row of a quantised vector is one element within a block: whole blocks are read and the
     * others dropped.
     */
    private void dequantize(long first, long count, ByteBuffer target) throws IOException {
      GgufType type = tensor.type();
      for (long at = first; at < first + count; ) {
        long block = at / type.blockElements();
        int skipped = (int) (at % type.blockElements());
        int wanted = (int) Math.min(WeightFiles.CHUNK_ELEMENTS - skipped, first + count - at);
        int blockCount = (skipped + wanted + type.blockElements() - 1) / type.blockElements();
        readBlocks(type, block, blockCount);
        for (int i = skipped; i < skipped + wanted; i++) {
          if (!Float.isFinite(values[i])) {
            throw WeightFiles.notFinite(where, block * type.blockElements() + i, values[i]);
          }
        }
        target.asFloatBuffer().put(values, skipped, wanted);
        target.position(target.position() + wanted * Float.BYTES);
        at += wanted;
      }
    }

    private void readBlocks(GgufType type, long first, int count) throws IOException {
      int bytes = count * type.blockBytes();
      if (blocks.length < bytes) {
        blocks = new byte[bytes];
        values = new float[count * type.blockElements()];
      }
      file.read(tensor, first * type.blockBytes(), ByteBuffer.wrap(blocks, 0, bytes));
      GgufDequantizer.dequantize(type, count, blocks, 0, values, 0);
    }
  }
}
