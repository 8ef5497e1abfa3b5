package io.rora.cli;

import java.io.IOException;
import org.apache.commons.cli.Options;

/** A command of {@code rora}: it parses, calls core and prints. */
interface Command {
  /** The word after {@code rora}. */
  String name();

  /** What it does, in one sentence. */
  String summary();

  /** What stands after the name in the usage line. */
  String usage();

  /** A command line that works, without {@code rora}. */
  String example();

  /** Its options, in the order in which help shows them. */
  Options options();

  /** How many arguments that are no options it takes. */
  default int positional() {
    return 0;
  }

  /**
   * Runs it.
   *
   * @throws UsageException for what the arguments alone show to be wrong
   * @throws IOException if a file cannot be read or written
   */
  void run(Arguments arguments, Console console) throws IOException;
}
