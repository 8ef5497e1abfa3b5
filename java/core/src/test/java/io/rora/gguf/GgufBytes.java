package io.rora.gguf;

import java.io.ByteArrayOutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;

/** Writes GGUF files byte by byte, sound ones and hostile ones. */
public final class GgufBytes {
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();

  /** Begins a file of version 3 with these counts. */
  public static GgufBytes begin(long tensors, long keys) {
    return new GgufBytes()
        .raw("GGUF".getBytes(StandardCharsets.US_ASCII))
        .int32(3)
        .int64(tensors)
        .int64(keys);
  }

  /** Appends a 32-bit number. */
  public GgufBytes int32(int value) {
    return raw(ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putInt(0, value).array());
  }

  /** Appends a 64-bit number. */
  public GgufBytes int64(long value) {
    return raw(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(0, value).array());
  }

  /** Appends a string with its length. */
  public GgufBytes string(String value) {
    byte[] utf8 = value.getBytes(StandardCharsets.UTF_8);
    return int64(utf8.length).raw(utf8);
  }

  /** Appends bytes. */
  public GgufBytes raw(byte[] value) {
    bytes.writeBytes(value);
    return this;
  }

  /** Appends a key with a number of type UINT32. */
  public GgufBytes key(String key, int value) {
    return string(key).int32(4).int32(value);
  }

  /** Appends a key with a string. */
  public GgufBytes key(String key, String value) {
    return string(key).int32(8).string(value);
  }

  /** Appends a key with a FLOAT32. */
  public GgufBytes key(String key, float value) {
    return string(key).int32(6).int32(Float.floatToRawIntBits(value));
  }

  /** Appends the description of a tensor, innermost dimension first. */
  public GgufBytes tensor(String name, int type, long offset, long... dimensions) {
    string(name).int32(dimensions.length);
    for (long dimension : dimensions) {
      int64(dimension);
    }
    return int32(type).int64(offset);
  }

  /** Pads to a multiple of the alignment. */
  public GgufBytes align(int alignment) {
    return raw(new byte[(alignment - bytes.size() % alignment) % alignment]);
  }

  /** Returns the number of bytes so far. */
  public int size() {
    return bytes.size();
  }

  /** Returns all bytes. */
  public byte[] bytes() {
    return bytes.toByteArray();
  }
}
