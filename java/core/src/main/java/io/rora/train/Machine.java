package io.rora.train;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.OptionalLong;

/**
 * What this machine has: its memory, within the limits that control groups set, and the peak of
 * this process. Numbers that the system does not tell are -1.
 */
final class Machine {
  private static final long KIB = 1024;
  // Control groups without a limit say 2^63 - 1, rounded down to pages.
  private static final long NO_LIMIT = 1L << 60;

  private final Path root;

  /** This machine. */
  Machine() {
    this(Path.of("/"));
  }

  /** The machine whose /proc and /sys stand below {@code root}. */
  Machine(Path root) {
    this.root = root;
  }

  /** Memory in all, or the control group's limit if that is lower. */
  long totalBytes() {
    long total = meminfo("MemTotal:");
    for (OptionalLong limit : List.of(limit2(), limit1())) {
      if (limit.isPresent() && limit.getAsLong() < NO_LIMIT) {
        total = total < 0 ? limit.getAsLong() : Math.min(total, limit.getAsLong());
      }
    }
    return total;
  }

  /** Memory that can be had without swapping, within the control group's limit. */
  long availableBytes() {
    long available = meminfo("MemAvailable:");
    long inGroup = Math.min(left(limit2(), used2()), left(limit1(), used1()));
    if (inGroup == Long.MAX_VALUE) {
      return available;
    }
    return available < 0 ? inGroup : Math.min(available, inGroup);
  }

  /** The largest resident set that this process has had (VmHWM). */
  long peakBytes() {
    return kib(root.resolve("proc/self/status"), "VmHWM:");
  }

  /** The resident set of this process (VmRSS). */
  long residentBytes() {
    return kib(root.resolve("proc/self/status"), "VmRSS:");
  }

  private static long left(OptionalLong limit, long used) {
    if (limit.isEmpty() || limit.getAsLong() >= NO_LIMIT || used < 0) {
      return Long.MAX_VALUE;
    }
    return Math.max(0, limit.getAsLong() - used);
  }

  private OptionalLong limit2() {
    return number(root.resolve("sys/fs/cgroup/memory.max"));
  }

  private OptionalLong limit1() {
    return number(root.resolve("sys/fs/cgroup/memory/memory.limit_in_bytes"));
  }

  /** What the group uses, without the page cache that can be dropped. */
  private long used2() {
    return used(
        root.resolve("sys/fs/cgroup/memory.current"), root.resolve("sys/fs/cgroup/memory.stat"));
  }

  private long used1() {
    Path group = root.resolve("sys/fs/cgroup/memory");
    return used(group.resolve("memory.usage_in_bytes"), group.resolve("memory.stat"));
  }

  private static long used(Path usage, Path statistics) {
    OptionalLong used = number(usage);
    if (used.isEmpty()) {
      return -1;
    }
    long cache = field(statistics, "inactive_file", 1);
    return Math.max(0, used.getAsLong() - Math.max(0, cache));
  }

  private long meminfo(String name) {
    return kib(root.resolve("proc/meminfo"), name);
  }

  private static long kib(Path file, String name) {
    return field(file, name, KIB);
  }

  private static long field(Path file, String name, long unit) {
    try {
      for (String line : Files.readAllLines(file)) {
        String[] words = line.trim().split("\\s+", -1);
        if (words.length > 1 && words[0].equals(name)) {
          return Long.parseLong(words[1]) * unit;
        }
      }
    } catch (IOException | NumberFormatException e) {
      return -1; // another system, or one that does not tell
    }
    return -1;
  }

  private static OptionalLong number(Path file) {
    try {
      return OptionalLong.of(Long.parseLong(Files.readString(file).trim()));
    } catch (IOException | NumberFormatException e) {
      return OptionalLong.empty(); // no such group, or "max"
    }
  }
}
