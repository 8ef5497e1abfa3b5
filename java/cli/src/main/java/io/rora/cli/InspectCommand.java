package io.rora.cli;

import io.rora.config.JsonText;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.commons.cli.Options;

/** {@code rora inspect}: what is in a model, an adapter, a run or a safetensors file. */
final class InspectCommand implements Command {
  @Override
  public String name() {
    return "inspect";
  }

  @Override
  public String summary() {
    return "Show files, shapes, types and sparsity, and an adapter's r, alpha and gamma per module.";
  }

  @Override
  public String usage() {
    return "PATH [--json]";
  }

  @Override
  public String example() {
    return "inspect runs/first";
  }

  @Override
  public int positional() {
    return 1;
  }

  @Override
  public Options options() {
    return new OptionTable().flag("json", "print JSON").help().build();
  }

  @Override
  public void run(Arguments arguments, Console console) throws IOException {
    Path path = Arguments.asPath("PATH", arguments.positional(0));
    if (!Files.exists(path)) {
      throw new FailureException(path + ": no such file or directory: check the path");
    }
    Inspection inspection = Inspection.of(path, new Progress(console, "reading"));
    console
        .out()
        .print(arguments.given("json") ? JsonText.pretty(inspection.json()) : inspection.text());
  }
}
