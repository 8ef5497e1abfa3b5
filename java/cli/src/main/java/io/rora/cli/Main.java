package io.rora.cli;

import java.io.IOException;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * The command line, {@code rora COMMAND [options]}. Exit codes: 0 done, 1 failed, 2 the arguments
 * are wrong. An error is one line, the last on standard error.
 */
public final class Main {
  private final Map<String, Command> commands = new TreeMap<>();
  private final Console console;

  /**
   * Makes the command line.
   *
   * @param console where it writes
   */
  public Main(Console console) {
    this.console = console;
    for (Command command : commands()) {
      commands.put(command.name(), command);
    }
  }

  /** Runs the command that the arguments name and ends the process with its exit code. */
  public static void main(String[] arguments) {
    System.exit(new Main(Console.ofProcess()).run(arguments));
  }

  /** The commands, in the order in which help lists them. */
  static List<Command> commands() {
    return List.of(
        new QuickstartCommand(),
        new TrainCommand(),
        new EvalCommand(),
        new GenerateCommand(),
        new MergeCommand(),
        new InspectCommand(),
        new InfoCommand());
  }

  /**
   * Runs the command that the arguments name.
   *
   * @param arguments what the user typed
   * @return the exit code
   */
  public int run(String... arguments) {
    try {
      dispatch(arguments);
      console.flush();
      return 0;
    } catch (UsageException e) {
      return fail(e, 2);
    } catch (Exception | LinkageError | OutOfMemoryError | StackOverflowError e) {
      return fail(e, 1);
    }
  }

  private int fail(Throwable error, int code) {
    console.out().flush();
    console.err().println("rora: " + ErrorReport.describe(error));
    console.err().flush();
    return code;
  }

  private void dispatch(String[] arguments) throws IOException {
    if (arguments.length == 0) {
      throw new UsageException("no command given: one of " + names() + "; see rora --help");
    }
    String first = arguments[0];
    if (first.equals("--help") || (first.equals("help") && arguments.length == 1)) {
      console.out().print(Help.overview(commands()));
    } else if (first.equals("--version")) {
      console.out().println("rora " + InfoCommand.version());
    } else if (first.equals("help")) {
      console.out().print(Help.of(command(arguments[1])));
    } else {
      runCommand(command(first), List.of(arguments).subList(1, arguments.length));
    }
  }

  private void runCommand(Command command, List<String> arguments) throws IOException {
    if (Arguments.asksForHelp(command, arguments)) {
      console.out().print(Help.of(command));
    } else {
      command.run(Arguments.parse(command, arguments), console);
    }
  }

  private Command command(String name) {
    Command command = commands.get(name);
    if (command == null) {
      String hint = Suggestions.didYouMean(name, commands.keySet(), "");
      throw new UsageException(
          "there is no command " + quoted(name) + (hint.isEmpty() ? ": one of " + names() : hint));
    }
    return command;
  }

  private static String quoted(String name) {
    return "'" + name + "'";
  }

  private String names() {
    return String.join(", ", commands().stream().map(Command::name).toList());
  }
}
