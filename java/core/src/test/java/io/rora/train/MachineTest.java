package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class MachineTest {
  private static final long GIB = 1L << 30;

  @TempDir Path root;

  private void write(String file, String text) throws IOException {
    Path path = root.resolve(file);
    Files.createDirectories(path.getParent());
    Files.writeString(path, text);
  }

  private void memory(long total, long available) throws IOException {
    write(
        "proc/meminfo",
        "MemTotal:   " + total / 1024 + " kB\nMemAvailable: " + available / 1024 + " kB\n");
  }

  @Test
  void memoryIsTheMachinesWithoutALimit() throws IOException {
    memory(8 * GIB, 5 * GIB);
    write("sys/fs/cgroup/memory.max", "max\n");
    Machine machine = new Machine(root);
    assertEquals(8 * GIB, machine.totalBytes());
    assertEquals(5 * GIB, machine.availableBytes());
  }

  @Test
  void aControlGroupsLimitCountsWithoutItsCache() throws IOException {
    memory(64 * GIB, 60 * GIB);
    write("sys/fs/cgroup/memory.max", Long.toString(4 * GIB));
    write("sys/fs/cgroup/memory.current", Long.toString(3 * GIB));
    write("sys/fs/cgroup/memory.stat", "anon 1\ninactive_file " + GIB + "\n");
    Machine machine = new Machine(root);
    assertEquals(4 * GIB, machine.totalBytes());
    assertEquals(2 * GIB, machine.availableBytes());
  }

  @Test
  void theOlderControlGroupsCountToo() throws IOException {
    memory(64 * GIB, GIB);
    write("sys/fs/cgroup/memory/memory.limit_in_bytes", Long.toString(4 * GIB));
    write("sys/fs/cgroup/memory/memory.usage_in_bytes", Long.toString(2 * GIB));
    Machine machine = new Machine(root);
    assertEquals(4 * GIB, machine.totalBytes());
    assertEquals(GIB, machine.availableBytes());
  }

  @Test
  void whatTheSystemDoesNotTellIsMinusOne() {
    Machine machine = new Machine(root);
    assertEquals(-1, machine.totalBytes());
    assertEquals(-1, machine.availableBytes());
    assertEquals(-1, machine.peakBytes());
  }
}
