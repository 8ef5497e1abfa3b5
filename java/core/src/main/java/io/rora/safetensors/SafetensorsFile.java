package io.rora.safetensors;

import io.rora.config.StrictJson;
import io.rora.files.FileFormatException;
import io.rora.files.FileReader;
import io.rora.files.FloatFormat;
import io.rora.kernels.DataType;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Path;
import java.util.Collections;
import java.util.Map;

/**
 * An open safetensors file. The header is checked entirely when it opens: the length field, the
 * JSON, dtypes, shapes, that the tensors fill the file without holes or overlaps, and that the file
 * is exactly as long as it says. Reads are positioned reads, by any number of threads at once; a
 * file cut short meanwhile gives an exception.
 */
public final class SafetensorsFile implements Closeable {
  /** The format's own limit for the header. */
  public static final long MAX_HEADER_BYTES = 100_000_000;

  private static final int CHUNK = 1 << 16;

  private final FileReader reader;
  private final SafetensorsHeader header;
  private final long dataStart;

  private SafetensorsFile(FileReader reader, SafetensorsHeader header, long dataStart) {
    this.reader = reader;
    this.header = header;
    this.dataStart = dataStart;
  }

  /**
   * Opens a file and checks its header.
   *
   * @throws FileFormatException if anything in it breaks the format's rules
   */
  public static SafetensorsFile open(Path file) throws IOException {
    FileReader reader = FileReader.open(file);
    try {
      long headerBytes = headerBytes(reader);
      String where = file.toString();
      ByteBuffer bytes = read(reader, Long.BYTES, (int) headerBytes);
      if (bytes.get(0) != '{') {
        throw new FileFormatException(
            file, "is not a safetensors file: its header does not start with '{'");
      }
      String json = StrictJson.decode(where + " (header)", bytes);
      long dataStart = Long.BYTES + headerBytes;
      SafetensorsHeader header = SafetensorsHeader.parse(where, json, reader.size() - dataStart);
      return new SafetensorsFile(reader, header, dataStart);
    } catch (IOException | RuntimeException e) {
      reader.close();
      throw e;
    }
  }

  private static long headerBytes(FileReader reader) throws IOException {
    if (reader.size() < Long.BYTES + 2) {
      throw new FileFormatException(
          reader.file(),
          "has " + reader.size() + " bytes, too few for a safetensors file; fetch it again");
    }
    long length = read(reader, 0, Long.BYTES).getLong(0);
    if (length < 2 || length > MAX_HEADER_BYTES) {
      throw new FileFormatException(
          reader.file(),
          "is not a safetensors file: its header would have "
              + Long.toUnsignedString(length)
              + " bytes, 2 to "
              + MAX_HEADER_BYTES
              + " are allowed");
    }
    if (length > reader.size() - Long.BYTES) {
      throw new FileFormatException(
          reader.file(),
          "is cut short: its header has "
              + length
              + " bytes, the whole file "
              + reader.size()
              + "; fetch it again");
    }
    return length;
  }

  private static ByteBuffer read(FileReader reader, long position, int count) throws IOException {
    ByteBuffer bytes = ByteBuffer.allocate(count).order(ByteOrder.LITTLE_ENDIAN);
    reader.read(position, bytes);
    return bytes.flip();
  }

  /** Returns the file's path. */
  public Path path() {
    return reader.file();
  }

  /** Returns the tensors by name, in the order of their bytes in the file. */
  public Map<String, TensorInfo> tensors() {
    return Collections.unmodifiableMap(header.tensors());
  }

  /** Returns the header's free-form strings; empty where there are none. */
  public Map<String, String> metadata() {
    return Collections.unmodifiableMap(header.metadata());
  }

  /**
   * Returns one tensor's place and type.
   *
   * @throws FileFormatException if the file does not hold it
   */
  public TensorInfo tensor(String name) throws FileFormatException {
    TensorInfo tensor = header.tensors().get(name);
    if (tensor == null) {
      throw new FileFormatException(path(), "there is no tensor " + name);
    }
    return tensor;
  }

  /**
   * Fills {@code target} with the tensor's bytes from {@code offset} on, as they stand in the file:
   * little-endian.
   *
   * @param offset bytes from the start of the tensor
   */
  public void read(String name, long offset, ByteBuffer target) throws IOException {
    TensorInfo tensor = tensor(name);
    if (offset < 0 || offset > tensor.bytes() - target.remaining()) {
      throw new IllegalArgumentException(
          target.remaining() + " bytes from " + offset + " on: " + name + " has " + tensor.bytes());
    }
    reader.read(dataStart + tensor.begin() + offset, target);
  }

  /**
   * Returns a whole F32, F16 or BF16 tensor as floats, which is exact.
   *
   * @throws FileFormatException if it has another type, more than 2^31 - 9 elements, or one that is
   *     not finite
   */
  public float[] readFloats(String name) throws IOException {
    TensorInfo tensor = tensor(name);
    DataType type = floatingType(tensor);
    if (tensor.elements() > Integer.MAX_VALUE - 8) {
      throw new FileFormatException(
          path(), name + " has " + tensor.elements() + " elements: too many to read at once");
    }
    float[] values = new float[(int) tensor.elements()];
    ByteBuffer chunk = ByteBuffer.allocate(CHUNK).order(ByteOrder.LITTLE_ENDIAN);
    for (int done = 0; done < values.length; ) {
      int count = Math.min(values.length - done, CHUNK / type.bytes());
      read(name, (long) done * type.bytes(), chunk.clear().limit(count * type.bytes()));
      chunk.flip();
      for (int i = 0; i < count; i++, done++) {
        values[done] = FloatFormat.get(chunk, type);
        if (!Float.isFinite(values[done])) {
          throw new FileFormatException(
              path(),
              name
                  + " element "
                  + done
                  + " is "
                  + values[done]
                  + ": only finite weights can be used");
        }
      }
    }
    return values;
  }

  /**
   * Returns the type that a tensor's elements are computed from.
   *
   * @throws FileFormatException if it is none of F32, F16 and BF16
   */
  public DataType floatingType(TensorInfo tensor) throws FileFormatException {
    return tensor
        .type()
        .dataType()
        .orElseThrow(
            () ->
                new FileFormatException(
                    path(),
                    tensor.name()
                        + " has dtype "
                        + tensor.type()
                        + "; weights are read from F32, F16 and BF16"));
  }

  @Override
  public void close() throws IOException {
    reader.close();
  }
}
