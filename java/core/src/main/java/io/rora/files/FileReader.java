package io.rora.files;

import java.io.Closeable;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;

/**
 * Positioned reads from a file that is open the whole time. Nothing is mapped, so a file that is
 * cut short or replaced meanwhile gives an exception and never a signal. Any number of threads may
 * read at once.
 */
public final class FileReader implements Closeable {
  /**
   * Reads into Java arrays go through a native copy that the JDK keeps for each thread: keep it
   * small.
   */
  private static final int MAX_HEAP_READ = 1 << 20;

  private final Path file;
  private final FileChannel channel;
  private final long size;

  private FileReader(Path file, FileChannel channel, long size) {
    this.file = file;
    this.channel = channel;
    this.size = size;
  }

  /** Opens a file. */
  public static FileReader open(Path file) throws IOException {
    if (Files.isDirectory(file)) {
      throw new FileFormatException(file, "is a directory, not a file");
    }
    FileChannel channel;
    try {
      channel = FileChannel.open(file, StandardOpenOption.READ);
    } catch (NoSuchFileException e) {
      throw new FileFormatException(file, "there is no such file");
    } catch (IOException e) {
      throw new IOException(
          file + ": cannot be opened (" + reason(e) + "); check its permissions", e);
    }
    try {
      return new FileReader(file, channel, channel.size());
    } catch (IOException | RuntimeException e) {
      channel.close();
      throw e;
    }
  }

  /** Returns the file's path. */
  public Path file() {
    return file;
  }

  /** Returns the size in bytes that the file had when it was opened. */
  public long size() {
    return size;
  }

  /**
   * Fills the buffer from {@code position} on.
   *
   * @throws IOException if the file no longer reaches that far, or cannot be read
   */
  public void read(long position, ByteBuffer target) throws IOException {
    long at = position;
    int limit = target.limit();
    while (target.position() < limit) {
      if (!target.isDirect()) {
        target.limit(Math.min(limit, target.position() + MAX_HEAP_READ));
      }
      int count = channel.read(target, at);
      target.limit(limit);
      if (count < 0) {
        throw new FileFormatException(
            file,
            "ends at byte "
                + channel.size()
                + ", but had "
                + size
                + " bytes when it was opened: it was cut short or replaced meanwhile; try again"
                + " when it is whole");
      }
      at += count;
    }
  }

  @Override
  public void close() throws IOException {
    channel.close();
  }

  /**
   * Returns what the operating system said, without the file's name where that can be told apart.
   */
  static String reason(IOException e) {
    if (e instanceof java.nio.file.AccessDeniedException) {
      return "permission denied";
    }
    if (e instanceof java.nio.file.FileSystemException f && f.getReason() != null) {
      return f.getReason();
    }
    return e.getMessage() == null ? e.getClass().getSimpleName() : e.getMessage();
  }
}
