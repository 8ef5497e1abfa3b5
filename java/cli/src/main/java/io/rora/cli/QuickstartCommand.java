package io.rora.cli;

import io.rora.cli.quickstart.Quickstart;
import java.io.IOException;
import java.nio.file.Path;
import org.apache.commons.cli.Options;

/** {@code rora quickstart}: everything once, on the built-in model. */
final class QuickstartCommand implements Command {
  private static final String DEFAULT_OUT = "rora-quickstart";

  @Override
  public String name() {
    return "quickstart";
  }

  @Override
  public String summary() {
    return "Fine-tune a small built-in model with LoRA and RoRA and compare them.";
  }

  @Override
  public String usage() {
    return "[--out rora-quickstart] [options]";
  }

  @Override
  public String example() {
    return "quickstart";
  }

  @Override
  public Options options() {
    return new OptionTable()
        .value(
            "out",
            "D",
            "the folder for everything it writes; its own is replaced" + " (" + DEFAULT_OUT + ")")
        .value(
            "threads",
            "N",
            "threads that compute, 0 for all cores; results do not depend on it (0)")
        .value(
            "rebuild-base",
            "DIR",
            "instead, pretrain the built-in model anew in DIR, absent or"
                + " empty: how the one in rora.jar was made")
        .help()
        .build();
  }

  @Override
  public void run(Arguments arguments, Console console) throws IOException {
    int threads = Machine.threads(arguments);
    if (arguments.given("rebuild-base")) {
      arguments.refuse("has no meaning with --rebuild-base: leave it out", "out");
      rebuild(arguments.requiredPath("rebuild-base"), threads, console);
    } else {
      Path out = arguments.path("out").orElse(Path.of(DEFAULT_OUT));
      new Quickstart(out, threads, console).run();
    }
  }

  private static void rebuild(Path work, int threads, Console console) throws IOException {
    try (TrainProgress progress = new TrainProgress(console, "pretraining", () -> false)) {
      console.out().println("written   " + Quickstart.rebuildBase(work, threads, progress));
    }
  }
}
