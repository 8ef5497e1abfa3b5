package io.rora.gguf;

import io.rora.config.StrictJson;
import io.rora.files.FileFormatException;
import io.rora.files.FileReader;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/**
 * Reads the header of a GGUF file from front to back. Whatever counts the file claims, memory is
 * bounded by its size.
 */
final class GgufCursor {
  /** More than the metadata of any model; a bound for hostile files. */
  private static final long MAX_HEADER_BYTES = 1L << 28;

  private static final int MAX_STRING_BYTES = 1 << 24;
  private static final int BUFFER_BYTES = 1 << 16;

  private final FileReader reader;
  private final ByteBuffer buffer =
      ByteBuffer.allocate(BUFFER_BYTES).order(ByteOrder.LITTLE_ENDIAN);
  private long bufferStart;

  GgufCursor(FileReader reader) {
    this.reader = reader;
    buffer.limit(0);
  }

  /** Returns the position in the file. */
  long position() {
    return bufferStart + buffer.position();
  }

  int readByte(String what) throws IOException {
    need(1, what);
    return buffer.get();
  }

  short readShort(String what) throws IOException {
    need(Short.BYTES, what);
    return buffer.getShort();
  }

  int readInt(String what) throws IOException {
    need(Integer.BYTES, what);
    return buffer.getInt();
  }

  long readLong(String what) throws IOException {
    need(Long.BYTES, what);
    return buffer.getLong();
  }

  /** Returns a UTF-8 string with its length before it. */
  String readString(String what) throws IOException {
    long length = readLong(what);
    if (length < 0 || length > MAX_STRING_BYTES || length > reader.size() - position()) {
      throw fail(
          what
              + " would have "
              + Long.toUnsignedString(length)
              + " bytes; the file is damaged, fetch it again");
    }
    ByteBuffer bytes;
    if (length <= BUFFER_BYTES) {
      need((int) length, what);
      bytes = buffer.slice(buffer.position(), (int) length);
      buffer.position(buffer.position() + (int) length);
    } else {
      bytes = ByteBuffer.allocate((int) length);
      long at = position();
      reader.read(at, bytes);
      moveTo(at + length);
      bytes.flip();
    }
    return StrictJson.decode(reader.file() + ": " + what, bytes);
  }

  /**
   * Returns a count of things that need at least {@code bytesEach} bytes each, checked against what
   * is left of the file.
   */
  int readCount(String what, long bytesEach, int max) throws IOException {
    long count = readLong(what);
    if (count < 0 || count > max || count > (reader.size() - position()) / bytesEach) {
      throw fail(
          what
              + " is "
              + Long.toUnsignedString(count)
              + ", more than the file can hold or a model needs; it is damaged, fetch it again");
    }
    return (int) count;
  }

  FileFormatException fail(String problem) {
    return new FileFormatException(reader.file(), problem);
  }

  private void need(int count, String what) throws IOException {
    if (buffer.remaining() >= count) {
      return;
    }
    long at = position();
    if (at + count > reader.size()) {
      throw fail(
          "is cut short: it ends at byte "
              + reader.size()
              + ", within "
              + what
              + "; fetch it again");
    }
    if (at + count > MAX_HEADER_BYTES) {
      throw fail(
          "its metadata goes on for more than "
              + MAX_HEADER_BYTES
              + " bytes; it is damaged, fetch it again");
    }
    moveTo(at);
    buffer.clear().limit((int) Math.min(BUFFER_BYTES, reader.size() - at));
    reader.read(at, buffer);
    buffer.flip();
  }

  private void moveTo(long position) {
    bufferStart = position;
    buffer.clear().limit(0);
  }
}
