package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.files.FileFormatException;
import io.rora.files.FileReader;
import io.rora.files.FloatFormat;
import io.rora.kernels.DataType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.function.Function;

/**
 * What the kinds of weight sources share: which kind a path is, checks of tensors, exact
 * conversions and hashes.
 */
final class WeightFiles {
  /** Elements converted at once: bounds the memory beside the caller's buffer. */
  static final int CHUNK_ELEMENTS = 1 << 15;

  private static final int HASH_BYTES = 1 << 20;
  private static final byte[] GGUF_MAGIC = "GGUF".getBytes(StandardCharsets.US_ASCII);

  private WeightFiles() {}

  /** Reads bytes of a tensor from an offset in it. */
  @FunctionalInterface
  interface Stored {
    void read(long offset, ByteBuffer target) throws IOException;
  }

  static WeightSource open(Path path) throws IOException {
    if (Files.isDirectory(path)) {
      return HuggingFaceSource.open(path);
    }
    if (!Files.exists(path)) {
      throw new FileFormatException(
          path,
          "there is no such file or directory; give a Hugging Face model directory or a GGUF file");
    }
    if (isGguf(path)) {
      return GgufSource.open(path);
    }
    String advice =
        path.toString().endsWith(".safetensors") || path.toString().endsWith(".json")
            ? "; give the directory that holds it, its config.json and its tokenizer"
            : "; give a Hugging Face model directory or a GGUF file";
    throw new FileFormatException(
        path, "is not a GGUF file: it does not begin with the letters GGUF" + advice);
  }

  private static boolean isGguf(Path path) throws IOException {
    try (FileReader reader = FileReader.open(path)) {
      if (reader.size() < GGUF_MAGIC.length) {
        return false;
      }
      byte[] magic = new byte[GGUF_MAGIC.length];
      reader.read(0, ByteBuffer.wrap(magic));
      return Arrays.equals(magic, GGUF_MAGIC);
    }
  }

  /**
   * Checks that every tensor of the model is there in its shape.
   *
   * @param where names the files
   * @param shapeOf gives the stored shape of a tensor, null where it is missing
   */
  static void check(String where, ModelConfig config, Function<String, List<Long>> shapeOf)
      throws FileFormatException {
    for (Map.Entry<String, List<Long>> expected : config.tensorShapes().entrySet()) {
      List<Long> found = shapeOf.apply(expected.getKey());
      if (found == null) {
        String advice =
            expected.getKey().equals("lm_head.weight")
                ? "; the configuration says that the head is not tied to the embedding"
                : "; the model is not complete, fetch it again";
        throw new FileFormatException(
            where, "the tensor " + expected.getKey() + " is missing" + advice);
      }
      if (!found.equals(expected.getValue())) {
        throw new FileFormatException(
            where,
            expected.getKey()
                + " has shape "
                + found
                + ", the configuration asks for "
                + expected.getValue()
                + "; configuration and weights are not of the same model");
      }
    }
  }

  /** Checks the arguments of readRows and returns the length of a row. */
  static long rowLength(long[] shape, long row, long rows, ByteBuffer target, DataType targetType) {
    if (row < 0 || rows < 0 || row > shape[0] - rows) {
      throw new IllegalArgumentException(
          "rows " + row + " to " + (row + rows) + " of a tensor " + Arrays.toString(shape));
    }
    long length = shape.length == 1 ? 1 : shape[1];
    long bytes = Math.multiplyExact(Math.multiplyExact(rows, length), (long) targetType.bytes());
    if (target.remaining() < bytes) {
      throw new IllegalArgumentException(
          "the buffer has " + target.remaining() + " bytes left, " + rows + " rows need " + bytes);
    }
    return length;
  }

  /**
   * Reads consecutive elements that stand in a file as F32, F16 or BF16, little-endian.
   *
   * @param first index of the first element in the tensor
   * @param where file and tensor, for messages
   */
  static void readElements(
      Stored stored,
      DataType type,
      long first,
      long count,
      ByteBuffer target,
      DataType targetType,
      String where)
      throws IOException {
    if (targetType != type && targetType != DataType.F32) {
      throw new IllegalArgumentException(
          where + " is " + type + ", it cannot be read as " + targetType);
    }
    if (targetType == type && target.order() == ByteOrder.LITTLE_ENDIAN) {
      int begin = target.position();
      int limit = target.limit();
      target.limit(begin + Math.toIntExact(count * type.bytes()));
      stored.read(first * type.bytes(), target);
      requireFinite(target, begin, (int) count, type, first, where);
      target.limit(limit);
      return;
    }
    ByteBuffer chunk =
        ByteBuffer.allocate(CHUNK_ELEMENTS * type.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    for (long done = 0; done < count; ) {
      int block = (int) Math.min(CHUNK_ELEMENTS, count - done);
      stored.read((first + done) * type.bytes(), chunk.clear().limit(block * type.bytes()));
      requireFinite(chunk.flip(), 0, block, type, first + done, where);
      for (int i = 0; i < block; i++) {
        FloatFormat.put(target, targetType, FloatFormat.get(chunk, type));
      }
      done += block;
    }
  }

  private static void requireFinite(
      ByteBuffer values, int from, int count, DataType type, long first, String where)
      throws FileFormatException {
    int bad = FloatFormat.firstNotFinite(values, from, count, type);
    if (bad >= 0) {
      float value =
          FloatFormat.get(
              values.duplicate().order(values.order()).position(from + bad * type.bytes()), type);
      throw notFinite(where, first + bad, value);
    }
  }

  static FileFormatException notFinite(String where, long element, float value) {
    return new FileFormatException(
        where,
        "element "
            + element
            + " is "
            + value
            + "; the file is damaged, or its training went wrong: fetch it again");
  }

  /** Returns the type that all matrices share, F32 where they differ. */
  static DataType storageType(WeightSource source) {
    DataType shared = null;
    for (String name : source.names()) {
      if (source.shape(name).length == 2) {
        DataType type = source.typeOf(name);
        if (shared != null && shared != type) {
          return DataType.F32;
        }
        shared = type;
      }
    }
    return shared;
  }

  static String sha256(Path file) throws IOException {
    MessageDigest digest = digest();
    ByteBuffer chunk = ByteBuffer.allocate(HASH_BYTES);
    try (FileReader reader = FileReader.open(file)) {
      for (long at = 0; at < reader.size(); at += chunk.position()) {
        reader.read(at, chunk.clear().limit((int) Math.min(HASH_BYTES, reader.size() - at)));
        digest.update(chunk.array(), 0, chunk.position());
      }
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  /** Returns the hash of the lines {@code HASH NAME} of some files, in the order of their names. */
  static String sha256OfAll(List<Path> files) throws IOException {
    TreeSet<String> names = new TreeSet<>();
    Path directory = files.get(0).toAbsolutePath().getParent();
    files.forEach(file -> names.add(file.getFileName().toString()));
    MessageDigest digest = digest();
    for (String name : names) {
      String line = sha256(directory.resolve(name)) + "  " + name + "\n";
      digest.update(line.getBytes(StandardCharsets.UTF_8));
    }
    return HexFormat.of().formatHex(digest.digest());
  }

  private static MessageDigest digest() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("this Java has no SHA-256, which every Java must have", e);
    }
  }
}
