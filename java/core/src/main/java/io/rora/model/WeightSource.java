package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.kernels.DataType;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.Collection;
import java.util.List;

/**
 * A model's files, opened and checked: its configuration is one that we compute, and every tensor
 * of it is there in the right shape. Values are read when asked for, row block by row block, so
 * that loading needs no memory beside the caller's buffer. Tensors have Hugging Face's names,
 * layouts and row order, whatever the files use.
 *
 * <p>Any number of threads may read at once.
 */
public interface WeightSource extends Closeable {
  /**
   * Opens a Hugging Face directory or a GGUF file.
   *
   * @throws io.rora.files.FileFormatException saying which file is wrong, how, and what to do
   */
  static WeightSource open(Path path) throws IOException {
    return WeightFiles.open(path);
  }

  /** Returns the directory or file that was opened. */
  Path path();

  /** Returns the files that make up the model: configuration and weights, but not the tokenizer. */
  List<Path> files();

  /** Returns the model's configuration. */
  ModelConfig config();

  /**
   * Returns the ids at which generation stops: every end id that any of the model's files names,
   * the configuration's first.
   */
  List<Integer> stopTokenIds();

  /**
   * Returns the names of all tensors in the order of {@link ModelConfig#tensorShapes()}; a tied
   * head is not among them.
   */
  Collection<String> names();

  /** Returns whether there is such a tensor. */
  boolean has(String name);

  /**
   * Returns a tensor's shape: {@code [out_features, in_features]}, or {@code [n]} for norms and
   * biases.
   */
  long[] shape(String name);

  /** Returns the type in which a tensor's values are had without loss: F32 for quantised ones. */
  DataType typeOf(String name);

  /**
   * Returns the type in which a tensor stands in its file, such as {@code BF16} or {@code Q4_K},
   * for people to read.
   */
  String describe(String name);

  /**
   * Returns whether any matrix is stored in a type that only exists in files, so that reading it
   * dequantises.
   */
  boolean quantised();

  /**
   * Returns the type that all matrices share, F32 where they differ or are quantised: what a merged
   * model is written as.
   */
  DataType storageType();

  /**
   * Reads rows of a tensor. The elements of a one-dimensional tensor count as its rows.
   *
   * @param row first row
   * @param rows number of rows; {@code rows * row length * targetType.bytes()} bytes are written
   * @param target receives the rows tightly from its position on, in its own byte order; its
   *     position advances
   * @param targetType F32, or {@link #typeOf} of this tensor
   * @throws io.rora.files.FileFormatException if a value is NaN or infinite, or the file was cut
   *     short meanwhile, naming file and tensor
   */
  void readRows(String name, long row, long rows, ByteBuffer target, DataType targetType)
      throws IOException;

  /** Returns a whole tensor as floats, for norms, biases and tests. */
  default float[] readFloats(String name) throws IOException {
    long[] shape = shape(name);
    long count = shape.length == 1 ? shape[0] : Math.multiplyExact(shape[0], shape[1]);
    ByteBuffer bytes = ByteBuffer.allocate(Math.toIntExact(Math.multiplyExact(count, Float.BYTES)));
    readRows(name, 0, shape[0], bytes, DataType.F32);
    float[] values = new float[(int) count];
    bytes.flip().asFloatBuffer().get(values);
    return values;
  }

  /**
   * Returns a SHA-256 over the model's files, in hexadecimal. For a GGUF file it is the file's own;
   * for a directory that of the lines which {@code sha256sum} prints for {@link #files()}, by names
   * alone.
   */
  String sha256() throws IOException;
}
