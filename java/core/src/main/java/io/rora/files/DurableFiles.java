package io.rora.files;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.channels.Channels;
import java.nio.channels.FileChannel;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.LinkOption;
import java.nio.file.NotDirectoryException;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;

/**
 * Writes files and directories so that, whenever the machine stops, they are there entirely or not
 * at all: under a temporary name, fsynced, renamed, and the directory fsynced. Where a write fails,
 * what stood there before is whole, the temporary file is removed, and the exception says which
 * file and what to do.
 *
 * <p>Temporary names are {@code .NAME.part}, {@code .NAME.old} and {@code .NAME.deleted} beside the
 * target; what a killed process left behind is overwritten by the next write, or removed by {@link
 * #recover}.
 */
public final class DurableFiles {
  private static final String PART = ".part";
  private static final String OLD = ".old";
  private static final String DELETED = ".deleted";

  /**
   * Writes from Java arrays go through a native copy that the JDK keeps for each thread: keep it
   * small.
   */
  private static final int MAX_WRITE = 1 << 20;

  private static final boolean SYNC_DIRECTORIES =
      !System.getProperty("os.name", "").toLowerCase(Locale.ROOT).startsWith("windows");

  private final Faults faults;

  /** The steps after which a test may let the disk fail or the process die. */
  public enum Step {
    CREATE,
    WRITE,
    FSYNC,
    RENAME,
    FSYNC_DIRECTORY,
    DELETE
  }

  /**
   * Told after every step. An IOException is a failing disk; an Error is the end of the process:
   * nothing is tidied up.
   */
  @FunctionalInterface
  public interface Faults {
    /** Called when {@code step} has been done to {@code path}. */
    void after(Step step, Path path) throws IOException;
  }

  /** Writes the content of a file. */
  @FunctionalInterface
  public interface Body {
    /** Writes everything; the channel is closed by the caller. */
    void writeTo(WritableByteChannel out) throws IOException;

    /** Returns a body that writes a string as UTF-8. */
    static Body of(String text) {
      return of(text.getBytes(StandardCharsets.UTF_8));
    }

    /** Returns a body that writes these bytes. */
    static Body of(byte[] bytes) {
      return out -> out.write(ByteBuffer.wrap(bytes));
    }

    /** Returns a body that writes to a stream. */
    static Body ofStream(StreamBody body) {
      return out -> {
        OutputStream stream = Channels.newOutputStream(out);
        body.writeTo(stream);
        stream.flush();
      };
    }
  }

  /** Writes the content of a file to a stream. */
  @FunctionalInterface
  public interface StreamBody {
    /** Writes everything; the stream is flushed by the caller. */
    void writeTo(OutputStream out) throws IOException;
  }

  /** Writes the files of a directory. */
  @FunctionalInterface
  public interface DirectoryBody {
    /** Writes every file. */
    void writeTo(Folder folder) throws IOException;
  }

  /** A directory that is being written under a temporary name. */
  public final class Folder {
    private final Path part;
    private final Path target;

    private Folder(Path part, Path target) {
      this.part = part;
      this.target = target;
    }

    /** Writes a file of the directory and fsyncs it. */
    public void write(String name, Body body) throws IOException {
      writeContent(part.resolve(name), target.resolve(name), body);
    }
  }

  /** Makes a writer of durable files. */
  public DurableFiles() {
    this((step, path) -> {});
  }

  /** Makes a writer that tells {@code faults} of every step, for tests. */
  public DurableFiles(Faults faults) {
    this.faults = faults;
  }

  /**
   * Writes or replaces a file. Missing parent directories are made. Of a link, the file that it
   * leads to is replaced; a device or a pipe, which a rename would put a file in the place of, is
   * refused.
   *
   * @throws IOException if it cannot be written, saying what to do; or whatever {@code body} throws
   */
  public void write(Path place, Body body) throws IOException {
    Path target = Files.exists(place) && Files.isSymbolicLink(place) ? place.toRealPath() : place;
    if (Files.exists(target) && !Files.isRegularFile(target) && !Files.isDirectory(target)) {
      throw new FileFormatException(place, "is a device or a pipe; name a file");
    }
    Path part = beside(target, PART);
    createParent(target);
    try {
      writeContent(part, target, body);
      rename(part, target, target);
    } catch (IOException | RuntimeException e) {
      removeQuietly(part, e);
      throw e;
    }
    syncDirectory(parent(target), target);
  }

  /**
   * Writes a directory, or replaces the one that is there. A process that dies while it replaces
   * leaves the old one whole, under its own name or under one from which {@link #recover} brings it
   * back.
   *
   * @throws IOException if it cannot be written, saying what to do; or whatever {@code body} throws
   */
  public void writeDirectory(Path target, DirectoryBody body) throws IOException {
    Path part = beside(target, PART);
    createParent(target);
    try {
      deleteTree(part);
      attempt(target, () -> Files.createDirectory(part));
      faults(Step.CREATE, part, target);
      body.writeTo(new Folder(part, target));
      syncDirectory(part, target);
      replaceDirectory(part, target);
    } catch (IOException | RuntimeException e) {
      removeQuietly(part, e);
      throw e;
    }
    deleteTree(beside(target, OLD));
  }

  private void replaceDirectory(Path part, Path target) throws IOException {
    Path old = beside(target, OLD);
    boolean replaces = exists(target);
    if (replaces) {
      deleteTree(old);
      syncDirectory(
          parent(target), target); // the new one is known to the disk before the old one moves
      rename(target, old, target);
    }
    try {
      rename(part, target, target);
    } catch (IOException e) {
      if (replaces && !exists(target)) {
        Files.move(old, target, StandardCopyOption.ATOMIC_MOVE);
      }
      throw e;
    }
    syncDirectory(parent(target), target);
  }

  /**
   * Deletes a directory so that it is never seen half deleted under its own name. Nothing happens
   * where there is none.
   */
  public void deleteDirectory(Path target) throws IOException {
    if (!exists(target)) {
      return;
    }
    Path deleted = beside(target, DELETED);
    deleteTree(deleted);
    rename(target, deleted, target);
    syncDirectory(parent(target), target);
    deleteTree(deleted);
  }

  /**
   * Tidies up what a killed process left among the children of a directory: removes parts of files
   * and directories, and brings back a directory that was being replaced.
   */
  public void recover(Path directory) throws IOException {
    if (!Files.isDirectory(directory)) {
      return;
    }
    List<Path> children;
    try (Stream<Path> entries = Files.list(directory)) {
      children = entries.sorted().toList();
    }
    for (Path child : children) {
      String name = child.getFileName().toString();
      if (isTemporary(name, OLD) && !exists(directory.resolve(original(name, OLD)))) {
        rename(child, directory.resolve(original(name, OLD)), child);
        syncDirectory(directory, child);
      } else if (isTemporary(name, OLD) || isTemporary(name, PART) || isTemporary(name, DELETED)) {
        deleteTree(child);
      }
    }
  }

  private static boolean isTemporary(String name, String suffix) {
    return name.startsWith(".") && name.endsWith(suffix) && name.length() > suffix.length() + 1;
  }

  private static String original(String name, String suffix) {
    return name.substring(1, name.length() - suffix.length());
  }

  /** Deletes a file or a directory with all that is in it; links are removed, not followed. */
  public void deleteTree(Path root) throws IOException {
    if (!exists(root)) {
      return;
    }
    Files.walkFileTree(
        root,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes)
              throws IOException {
            return delete(file);
          }

          @Override
          public FileVisitResult postVisitDirectory(Path directory, IOException failure)
              throws IOException {
            if (failure != null) {
              throw failure;
            }
            return delete(directory);
          }
        });
  }

  private FileVisitResult delete(Path path) throws IOException {
    attempt(path, () -> Files.delete(path));
    faults(Step.DELETE, path, path);
    return FileVisitResult.CONTINUE;
  }

  // ---- the steps ----

  private void writeContent(Path part, Path target, Body body) throws IOException {
    try (FileChannel file = create(part, target)) {
      faults(Step.CREATE, part, target);
      body.writeTo(new Output(file, part, target));
      attempt(target, () -> file.force(true));
      faults(Step.FSYNC, part, target);
    }
  }

  private static FileChannel create(Path part, Path target) throws IOException {
    try {
      return FileChannel.open(
          part,
          StandardOpenOption.CREATE,
          StandardOpenOption.TRUNCATE_EXISTING,
          StandardOpenOption.WRITE);
    } catch (IOException e) {
      throw explained(target, e);
    }
  }

  private void rename(Path from, Path to, Path target) throws IOException {
    attempt(target, () -> Files.move(from, to, StandardCopyOption.ATOMIC_MOVE));
    faults(Step.RENAME, to, target);
  }

  private void syncDirectory(Path directory, Path target) throws IOException {
    if (SYNC_DIRECTORIES) {
      attempt(
          target,
          () -> {
            try (FileChannel channel = FileChannel.open(directory, StandardOpenOption.READ)) {
              channel.force(true);
            }
          });
    }
    faults(Step.FSYNC_DIRECTORY, directory, target);
  }

  /**
   * Makes the directories above a target and tells the disk of each, lest the file be lost with one
   * of them.
   */
  private void createParent(Path target) throws IOException {
    Path parent = parent(target);
    if (Files.isDirectory(parent)) {
      return;
    }
    if (exists(parent)) {
      throw explained(target, new NotDirectoryException(parent.toString()));
    }
    createParent(parent);
    try {
      Files.createDirectory(parent);
    } catch (FileAlreadyExistsException e) {
      return; // somebody else was faster
    } catch (IOException e) {
      throw explained(target, e);
    }
    faults(Step.CREATE, parent, target);
    syncDirectory(parent(parent), target);
  }

  private void faults(Step step, Path path, Path target) throws IOException {
    attempt(target, () -> faults.after(step, path));
  }

  private void removeQuietly(Path part, Exception cause) {
    try {
      deleteTree(part);
    } catch (IOException e) {
      cause.addSuppressed(e);
    }
  }

  private static boolean exists(Path path) {
    return Files.exists(path, LinkOption.NOFOLLOW_LINKS);
  }

  private static Path parent(Path path) {
    return path.toAbsolutePath().getParent();
  }

  private static Path beside(Path target, String suffix) {
    if (target.getFileName() == null || parent(target) == null) {
      throw new IllegalArgumentException(target + ": names no file");
    }
    return target.resolveSibling("." + target.getFileName() + suffix);
  }

  // ---- failures ----

  @FunctionalInterface
  private interface Action {
    void run() throws IOException;
  }

  private static void attempt(Path target, Action action) throws IOException {
    try {
      action.run();
    } catch (IOException e) {
      throw explained(target, e);
    }
  }

  /**
   * Returns an exception that names the file that was wanted, not the temporary one, and what to
   * do.
   */
  private static IOException explained(Path target, IOException e) {
    String reason = FileReader.reason(e);
    String known = reason.toLowerCase(Locale.ROOT);
    String advice;
    if (known.contains("no space left") || known.contains("quota")) {
      advice = "make room on that disk, or write somewhere else";
    } else if (known.contains("denied")
        || known.contains("read-only")
        || known.contains("not permitted")) {
      advice = "make its directory writable, or write somewhere else";
    } else if (e instanceof NotDirectoryException) {
      reason = e.getMessage() + " is a file";
      advice = "a directory is needed there; write somewhere else";
    } else {
      advice = "check the disk and try again, or write somewhere else";
    }
    return new IOException(target + ": cannot be written (" + reason + "); " + advice, e);
  }

  /** A channel that names the target where a write fails. */
  private final class Output implements WritableByteChannel {
    private final FileChannel file;
    private final Path part;
    private final Path target;

    Output(FileChannel file, Path part, Path target) {
      this.file = file;
      this.part = part;
      this.target = target;
    }

    @Override
    public int write(ByteBuffer source) throws IOException {
      int count = source.remaining();
      int limit = source.limit();
      while (source.hasRemaining()) {
        source.limit(Math.min(limit, source.position() + MAX_WRITE));
        try {
          attempt(target, () -> file.write(source));
        } finally {
          source.limit(limit);
        }
        faults(Step.WRITE, part, target);
      }
      return count;
    }

    @Override
    public boolean isOpen() {
      return file.isOpen();
    }

    @Override
    public void close() {} // the file is fsynced and closed by its owner
  }
}
