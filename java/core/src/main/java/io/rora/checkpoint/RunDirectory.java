package io.rora.checkpoint;

import io.rora.files.DurableFiles;
import io.rora.files.FileFormatException;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.OptionalInt;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * A run's directory: the result itself, {@code run.json}, {@code metrics.jsonl}, {@code best/} and
 * {@code checkpoints/step-N/}. A checkpoint is renamed into place, so one that is there is whole.
 */
public final class RunDirectory {
  private static final Pattern STEP = Pattern.compile("step-(\\d{1,9})");
  private static final int KEPT = 2;

  private final DurableFiles files;
  private final Path root;

  private RunDirectory(DurableFiles files, Path root) {
    this.files = files;
    this.root = root;
  }

  /**
   * Opens the directory of a new run or of one to go on with. Nothing is written yet, but what a
   * killed process left half written is removed.
   *
   * @throws FileFormatException if a new run's directory is not empty, or the other holds no run
   */
  public static RunDirectory open(DurableFiles files, Path root, boolean resume)
      throws IOException {
    RunDirectory run = new RunDirectory(files, root);
    if (Files.exists(root) && !Files.isDirectory(root)) {
      throw new FileFormatException(root, "is a file; name a directory for the run");
    }
    if (resume && (Files.isRegularFile(run.manifest()) || run.holdsOnly(".run.json.part"))) {
      files.recover(root);
      files.recover(run.checkpoints());
    }
    if (run.isEmpty() || (resume && Files.isRegularFile(run.manifest()))) {
      return run;
    }
    throw new FileFormatException(
        root,
        resume
            ? "holds no run.json, so there is no run to resume; name a run's directory"
            : "is not empty; name another directory, or go on with the run there with --resume");
  }

  private boolean isEmpty() throws IOException {
    if (!Files.isDirectory(root)) {
      return true;
    }
    try (Stream<Path> entries = Files.list(root)) {
      return entries.findAny().isEmpty();
    }
  }

  private boolean holdsOnly(String name) throws IOException {
    if (!Files.isDirectory(root)) {
      return false;
    }
    try (Stream<Path> entries = Files.list(root)) {
      return entries.allMatch(entry -> entry.getFileName().toString().equals(name));
    }
  }

  /** The directory. */
  public Path root() {
    return root;
  }

  /** What the run was told, and on what. */
  public Path manifest() {
    return root.resolve("run.json");
  }

  /** One line a step. */
  public Path metrics() {
    return root.resolve("metrics.jsonl");
  }

  /** The result with the lowest evaluation loss. */
  public Path best() {
    return root.resolve("best");
  }

  /** Where the checkpoints are. */
  public Path checkpoints() {
    return root.resolve("checkpoints");
  }

  /** The checkpoint of a step, whether it is there or not. */
  public Path checkpoint(int step) {
    return checkpoints().resolve("step-" + step);
  }

  /** The step of the newest checkpoint, if there is any. */
  public OptionalInt newestCheckpoint() throws IOException {
    List<Integer> steps = steps();
    return steps.isEmpty() ? OptionalInt.empty() : OptionalInt.of(steps.get(0));
  }

  /** Deletes all checkpoints but the newest two. */
  public void prune() throws IOException {
    List<Integer> steps = steps();
    for (int step : steps.subList(Math.min(KEPT, steps.size()), steps.size())) {
      files.deleteDirectory(checkpoint(step));
    }
  }

  /** The steps that have a checkpoint, newest first. */
  private List<Integer> steps() throws IOException {
    List<Integer> steps = new ArrayList<>();
    if (!Files.isDirectory(checkpoints())) {
      return steps;
    }
    try (Stream<Path> entries = Files.list(checkpoints())) {
      for (Path entry : (Iterable<Path>) entries::iterator) {
        Matcher matcher = STEP.matcher(entry.getFileName().toString());
        if (matcher.matches() && Files.isDirectory(entry)) {
          steps.add(Integer.parseInt(matcher.group(1)));
        }
      }
    }
    steps.sort(Collections.reverseOrder());
    return steps;
  }
}
