package io.rora.cli;

import com.sun.management.OperatingSystemMXBean;
import io.rora.kernels.RoraContext;
import io.rora.kernels.RoraException;
import java.lang.management.ManagementFactory;
import org.apache.commons.cli.Options;

/** {@code rora info}: what this machine offers and what rora makes of it. */
final class InfoCommand implements Command {
  @Override
  public String name() {
    return "info";
  }

  @Override
  public String summary() {
    return "Show the version, the CPU's features and the kernels chosen, GPUs and memory.";
  }

  @Override
  public String usage() {
    return "[options]";
  }

  @Override
  public String example() {
    return "info";
  }

  @Override
  public Options options() {
    return new OptionTable().help().build();
  }

  @Override
  public void run(Arguments arguments, Console console) {
    StringBuilder text = new StringBuilder();
    line(text, "rora", version());
    line(text, "java", javaVersion());
    line(text, "system", System.getProperty("os.name") + " " + System.getProperty("os.arch"));
    line(text, "cpu features", RoraContext.cpuFeatures());
    try (RoraContext context = RoraContext.open("cpu", 0)) {
      line(text, "kernels", context.isa());
      line(text, "threads", Integer.toString(context.threads()));
    }
    line(text, "memory", memory());
    line(text, "gpus", gpus());
    console.out().print(text);
  }

  /** The native library's version, which is the product's. */
  static String version() {
    return RoraContext.version();
  }

  private static void line(StringBuilder text, String name, String value) {
    text.append(Units.format("%-14s%s\n", name, ErrorReport.oneLine(value)));
  }

  private static String javaVersion() {
    return System.getProperty("java.version") + " (" + System.getProperty("java.vendor") + ")";
  }

  private static String memory() {
    var system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
    return Units.bytes(system.getTotalMemorySize())
        + " in all; Java heap up to "
        + Units.bytes(Runtime.getRuntime().maxMemory())
        + " (weights live outside it)";
  }

  private static String gpus() {
    try (RoraContext context = RoraContext.open("cuda", 0)) {
      return "cuda: " + context.isa();
    } catch (RoraException e) {
      return "none: " + e.getMessage();
    }
  }
}
