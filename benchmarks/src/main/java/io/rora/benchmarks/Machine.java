package io.rora.benchmarks;

import io.rora.kernels.RoraContext;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.LocalDate;
import java.time.ZoneOffset;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;

/** The machine and the versions that numbers belong to. */
final class Machine {
  /** The JVM argument of forks that carries them into JMH's results. */
  static final String PROPERTY = "-Drora.bench.machine=";

  private Machine() {}

  /**
   * Describes this machine.
   *
   * @param command the arguments of the suite
   */
  static String describe(List<String> command) {
    List<String> lines = new ArrayList<>();
    lines.add(
        processor()
            + (", " + Peers.threads() + " cores, ")
            + (Math.round(bytes() / 0x1p30) + " GiB, ")
            + (System.getProperty("os.name") + " " + System.getProperty("os.version")));
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      lines.add("rora " + RoraContext.version() + " with " + context.isa());
    }
    lines.add("Java " + System.getProperty("java.runtime.version"));
    Properties versions = versions();
    for (String peer : Analysis.PEERS) {
      lines.add(peer + " " + versions.getProperty(peer) + " (org.bytedeco)");
    }
    lines.add("java -jar rora-bench.jar " + String.join(" ", command));
    lines.add(LocalDate.now(ZoneOffset.UTC).toString());
    return String.join("; ", lines).strip();
  }

  /** Bytes of memory. */
  static double bytes() {
    return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
        .getTotalMemorySize();
  }

  private static String processor() {
    try {
      for (String line : Files.readAllLines(Path.of("/proc/cpuinfo"))) {
        if (line.startsWith("model name")) {
          return line.substring(line.indexOf(':') + 1).strip();
        }
      }
    } catch (IOException e) {
      // Not Linux: what Java knows must do.
    }
    return System.getProperty("os.arch");
  }

  private static Properties versions() {
    Properties versions = new Properties();
    try (InputStream in = Machine.class.getResourceAsStream("versions.properties")) {
      versions.load(in);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return versions;
  }
}
