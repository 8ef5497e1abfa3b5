package io.rora.checkpoint;

import io.rora.config.JsonText;
import io.rora.config.StrictJson;
import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.Map;

/** A run's {@code metrics.jsonl}: one JSON object a line, appended. */
public final class MetricsLog implements Closeable {
  private final Path file;
  private final FileChannel channel;

  private MetricsLog(Path file, FileChannel channel) {
    this.file = file;
    this.channel = channel;
  }

  /**
   * Opens the file of a run that stands at a step, and makes it if it is missing. Lines of later
   * steps and a last line that was cut short are cut off; those before stay as they are, byte for
   * byte.
   */
  public static MetricsLog open(Path file, int step) throws IOException {
    Files.createDirectories(file.toAbsolutePath().getParent());
    FileChannel channel =
        FileChannel.open(file, StandardOpenOption.CREATE, StandardOpenOption.WRITE);
    try {
      channel.truncate(lengthUpTo(file, step));
      channel.position(channel.size());
    } catch (IOException | RuntimeException e) {
      channel.close();
      throw e;
    }
    return new MetricsLog(file, channel);
  }

  /** Returns the bytes of the leading lines that are whole and belong to steps up to this one. */
  private static long lengthUpTo(Path file, int step) throws IOException {
    byte[] bytes = Files.readAllBytes(file);
    int end = 0;
    for (int i = 0; i < bytes.length; i++) {
      if (bytes[i] != '\n') {
        continue;
      }
      if (!belongs(file, ByteBuffer.wrap(bytes, end, i - end), step)) {
        return end;
      }
      end = i + 1;
    }
    return end;
  }

  private static boolean belongs(Path file, ByteBuffer line, int step) {
    try {
      String where = file.toString();
      StrictJson json = StrictJson.parse(where, StrictJson.decode(where, line));
      return json.integer("step", 0, Integer.MAX_VALUE) <= step;
    } catch (IOException e) {
      return false; // a damaged line: what follows it cannot be placed either
    }
  }

  /** Appends a line. */
  public void append(Map<String, ?> line) throws IOException {
    byte[] bytes = (JsonText.line(line) + "\n").getBytes(StandardCharsets.UTF_8);
    ByteBuffer buffer = ByteBuffer.wrap(bytes);
    try {
      while (buffer.hasRemaining()) {
        channel.write(buffer);
      }
    } catch (IOException e) {
      throw new IOException(
          file + ": cannot be written (" + e.getMessage() + "); make room and use --resume", e);
    }
  }

  /** Makes sure that all lines are on the disk. */
  public void sync() throws IOException {
    channel.force(true);
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }
}
