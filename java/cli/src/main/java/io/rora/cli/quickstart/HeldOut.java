package io.rora.cli.quickstart;

import java.io.IOException;
import java.nio.file.Path;

/** The held-out questions, asked of the base with or without an adapter. */
final class HeldOut implements AutoCloseable {
  static HeldOut open(Path base, Path rows, int threads) throws IOException {
    return new HeldOut();
  }
  double accuracy(Path adapterOrNull) throws IOException { return Double.NaN; }
  @Override public void close() {}
}
