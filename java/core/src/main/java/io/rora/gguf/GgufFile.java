package io.rora.gguf;

import io.rora.files.FileFormatException;
import io.rora.files.FileReader;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * An open GGUF file, version 2 or 3, little-endian. Metadata and tensor descriptions are read and
 * checked when it opens: types, alignment, that every tensor lies in the file and none overlaps
 * another. Reads are positioned reads, by any number of threads at once; a file cut short meanwhile
 * gives an exception.
 */
public final class GgufFile implements Closeable {
  private static final int MAGIC = 0x46554747; // "GGUF"
  private static final int MAX_TENSORS = 1 << 18;
  private static final int MAX_DIMENSIONS = 4;
  private static final int DEFAULT_ALIGNMENT = 32;
  private static final int MAX_ALIGNMENT = 1 << 20;

  private final FileReader reader;
  private final int version;
  private final GgufMetadata metadata;
  private final Map<String, GgufTensor> tensors = new LinkedHashMap<>();

  private GgufFile(FileReader reader) throws IOException {
    this.reader = reader;
    GgufCursor cursor = new GgufCursor(reader);
    this.version = readVersion(cursor);
    int tensorCount = cursor.readCount("the number of tensors", 32, MAX_TENSORS);
    this.metadata = GgufMetadata.read(reader.file(), cursor, GgufMetadata.readCount(cursor));
    readTensors(cursor, tensorCount);
  }

  /**
   * Opens a file and checks everything but the tensors' values.
   *
   * @throws FileFormatException if it breaks the format's rules, or holds a tensor of a type that
   *     cannot be read
   */
  public static GgufFile open(Path file) throws IOException {
    FileReader reader = FileReader.open(file);
    try {
      return new GgufFile(reader);
    } catch (IOException | RuntimeException e) {
      reader.close();
      throw e;
    }
  }

  private static int readVersion(GgufCursor cursor) throws IOException {
    if (cursor.readInt("the letters GGUF") != MAGIC) {
      throw cursor.fail("is not a GGUF file: it does not begin with the letters GGUF");
    }
    int version = cursor.readInt("the version");
    if (version == Integer.reverseBytes(2) || version == Integer.reverseBytes(3)) {
      throw cursor.fail("is a big-endian GGUF file; little-endian ones are supported");
    }
    if (version != 2 && version != 3) {
      throw cursor.fail(
          "is of GGUF version "
              + Integer.toUnsignedString(version)
              + "; versions 2 and 3 are supported");
    }
    return version;
  }

  // ---- tensors ----

  private record Described(String name, GgufType type, List<Long> shape, long offset, long bytes) {}

  private void readTensors(GgufCursor cursor, int count) throws IOException {
    List<Described> described = new ArrayList<>();
    for (int i = 0; i < count; i++) {
      described.add(readTensor(cursor, i));
    }
    int alignment = metadata.integer("general.alignment", 1, MAX_ALIGNMENT, DEFAULT_ALIGNMENT);
    if (Integer.bitCount(alignment) != 1) {
      throw metadata.error("general.alignment", "is " + alignment + ", expected a power of two");
    }
    long dataStart = (cursor.position() + alignment - 1) / alignment * alignment;
    for (Described tensor : described) {
      checkPlace(tensor, alignment, dataStart);
      GgufTensor placed =
          new GgufTensor(
              tensor.name(),
              tensor.type(),
              tensor.shape(),
              dataStart + tensor.offset(),
              tensor.bytes());
      if (tensors.put(tensor.name(), placed) != null) {
        throw fail("the tensor " + tensor.name() + " is described twice");
      }
    }
    checkOverlaps();
  }

  private Described readTensor(GgufCursor cursor, int index) throws IOException {
    String name = cursor.readString("the name of tensor " + index);
    String what = "the description of tensor " + name;
    int dimensions = cursor.readInt(what);
    if (dimensions < 1 || dimensions > MAX_DIMENSIONS) {
      throw fail(
          "the tensor "
              + name
              + " has "
              + Integer.toUnsignedString(dimensions)
              + " dimensions, 1 to "
              + MAX_DIMENSIONS
              + " are allowed");
    }
    List<Long> shape = new ArrayList<>();
    for (int i = 0; i < dimensions; i++) {
      shape.add(0, cursor.readLong(what)); // the file has the innermost first
    }
    int id = cursor.readInt(what);
    GgufType type =
        GgufType.of(id)
            .orElseThrow(
                () ->
                    fail(
                        "the tensor "
                            + name
                            + " is of type "
                            + GgufType.nameOf(id)
                            + ", which cannot be read; supported are "
                            + GgufType.supported()));
    return new Described(name, type, shape, cursor.readLong(what), bytes(name, type, shape));
  }

  private long bytes(String name, GgufType type, List<Long> shape) throws FileFormatException {
    long row = shape.get(shape.size() - 1);
    if (row % type.blockElements() != 0) {
      throw fail(
          "the tensor "
              + name
              + " has rows of "
              + row
              + " elements, no multiple of a "
              + type
              + " block's "
              + type.blockElements());
    }
    try {
      long bytes = Math.multiplyExact(row / type.blockElements(), (long) type.blockBytes());
      for (int i = 0; i < shape.size() - 1; i++) {
        bytes = Math.multiplyExact(bytes, shape.get(i));
      }
      if (shape.stream().anyMatch(size -> size < 1)) {
        throw new ArithmeticException();
      }
      return bytes;
    } catch (ArithmeticException e) {
      throw fail("the tensor " + name + " has the impossible shape " + shape);
    }
  }

  private void checkPlace(Described tensor, int alignment, long dataStart)
      throws FileFormatException {
    long offset = tensor.offset();
    if (offset < 0 || offset % alignment != 0) {
      throw fail(
          "the tensor "
              + tensor.name()
              + " begins at offset "
              + Long.toUnsignedString(offset)
              + ", no multiple of the alignment "
              + alignment);
    }
    if (offset > reader.size() - dataStart || tensor.bytes() > reader.size() - dataStart - offset) {
      throw fail(
          "is cut short: the tensor "
              + tensor.name()
              + " has "
              + tensor.bytes()
              + " bytes from offset "
              + offset
              + " of the data on, the file has "
              + Math.max(0, reader.size() - dataStart)
              + "; fetch it again");
    }
  }

  private void checkOverlaps() throws FileFormatException {
    List<GgufTensor> inOrder = new ArrayList<>(tensors.values());
    inOrder.sort(Comparator.comparingLong(GgufTensor::offset));
    for (int i = 1; i < inOrder.size(); i++) {
      GgufTensor before = inOrder.get(i - 1);
      if (before.offset() + before.bytes() > inOrder.get(i).offset()) {
        throw fail(
            "the tensors "
                + before.name()
                + " and "
                + inOrder.get(i).name()
                + " overlap; the file is damaged, fetch it again");
      }
    }
  }

  private FileFormatException fail(String problem) {
    return new FileFormatException(reader.file(), problem);
  }

  // ---- what it holds ----

  /** Returns the file's path. */
  public Path path() {
    return reader.file();
  }

  /** Returns the version of the format. */
  public int version() {
    return version;
  }

  /** Returns the keys and values. */
  public GgufMetadata metadata() {
    return metadata;
  }

  /** Returns the tensors by name, in the order in which the file describes them. */
  public Map<String, GgufTensor> tensors() {
    return Collections.unmodifiableMap(tensors);
  }

  /**
   * Fills {@code target} with a tensor's bytes from {@code offset} on.
   *
   * @param offset bytes from the start of the tensor
   */
  public void read(GgufTensor tensor, long offset, ByteBuffer target) throws IOException {
    if (offset < 0 || offset > tensor.bytes() - target.remaining()) {
      throw new IllegalArgumentException(
          target.remaining()
              + " bytes from "
              + offset
              + " on: "
              + tensor.name()
              + " has "
              + tensor.bytes());
    }
    reader.read(tensor.offset() + offset, target);
  }

  @Override
  public void close() throws IOException {
    reader.close();
  }
}
