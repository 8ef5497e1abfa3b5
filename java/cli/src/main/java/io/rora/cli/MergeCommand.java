package io.rora.cli;

import io.rora.adapter.AdapterMerge;
import io.rora.adapter.MergeListener;
import io.rora.kernels.DataType;
import java.io.IOException;
import java.nio.file.Path;
import org.apache.commons.cli.Options;

/** {@code rora merge}: makes one model of a base and its adapter. */
final class MergeCommand implements Command {
  @Override
  public String name() {
    return "merge";
  }

  @Override
  public String summary() {
    return "Merge an adapter into its base and write a Hugging Face directory.";
  }

  @Override
  public String usage() {
    return "--model M --adapter D --out DIR [options]";
  }

  @Override
  public String example() {
    return "merge --model models/SmolLM2-135M --adapter runs/first --out merged";
  }

  @Override
  public Options options() {
    return new OptionTable()
        .model()
        .adapter()
        .value("out", "DIR", "the directory to write, absent or empty")
        .value(
            "dtype",
            "T",
            "fp32 or bf16: what is written; computed in fp32 (the base's type,"
                + " fp32 for a quantised one)")
        .flag("keep-sparsity", "keep the base's zeros; not available yet")
        .help()
        .build();
  }

  @Override
  public void run(Arguments arguments, Console console) throws IOException {
    Path model = arguments.requiredPath("model");
    Path adapter = arguments.requiredPath("adapter");
    Path out = arguments.requiredPath("out");
    if (arguments.given("keep-sparsity")) {
      throw new UsageException(
          "--keep-sparsity is not available yet: leave it out, or keep to dense models");
    }
    DataType type =
        arguments.given("dtype") ? Machine.dtype(arguments.choice("dtype", "bf16", "fp32")) : null;
    AdapterMerge.merge(model, adapter, out, type, progress(console));
    console.out().println("written   " + out);
    console.out().println("try       rora generate --model " + out + " --prompt \"...\"");
  }

  private static MergeListener progress(Console console) {
    return (name, done, total) -> {
      if (console.terminal()) {
        console.err().print("\rmerge: tensor " + (done + 1) + " of " + total + "\u001b[K");
        console.err().print(done + 1 == total ? "\n" : "");
        console.err().flush();
      } else if (done % Math.max(1, total / 10) == 0) {
        console.progress("merge: tensor " + (done + 1) + " of " + total);
      }
    };
  }
}
