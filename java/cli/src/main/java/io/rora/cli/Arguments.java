package io.rora.cli;

import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.function.DoubleConsumer;
import java.util.function.IntConsumer;
import org.apache.commons.cli.AlreadySelectedException;
import org.apache.commons.cli.CommandLine;
import org.apache.commons.cli.DefaultParser;
import org.apache.commons.cli.MissingArgumentException;
import org.apache.commons.cli.Option;
import org.apache.commons.cli.ParseException;
import org.apache.commons.cli.UnrecognizedOptionException;

/** A command's parsed arguments, with getters that say what is wrong with a value. */
final class Arguments {
  private final String command;
  private final CommandLine line;

  private Arguments(String command, CommandLine line) {
    this.command = command;
    this.line = line;
  }

  /** Whether {@code --help} stands among the options, even beside mistakes. */
  static boolean asksForHelp(Command command, List<String> arguments) {
    for (int i = 0; i < arguments.size(); i++) {
      String argument = arguments.get(i);
      if (argument.equals("--help")) {
        return true;
      }
      Option option = optionOf(command, argument);
      if (option != null && option.hasArg() && !argument.contains("=")) {
        i++; // its value, which may be the text --help
      }
    }
    return false;
  }

  private static Option optionOf(Command command, String argument) {
    if (!argument.startsWith("--")) {
      return null;
    }
    int equals = argument.indexOf('=');
    String name = argument.substring(2, equals < 0 ? argument.length() : equals);
    return command.options().getOption(name);
  }

  /**
   * Parses a command's arguments.
   *
   * @throws UsageException for an unknown or repeated option, a missing value or a stray argument
   */
  static Arguments parse(Command command, List<String> arguments) {
    for (String argument : arguments) {
      if (argument.indexOf('\uFFFD') >= 0) {
        throw new UsageException(
            "an argument is not valid text in this locale: " + argument + ": set LC_ALL=C.UTF-8");
      }
    }
    try {
      // An abbreviation that means one option today means two tomorrow; quotes are the prompt's
      // own.
      CommandLine line =
          DefaultParser.builder()
              .setAllowPartialMatching(false)
              .setStripLeadingAndTrailingQuotes(false)
              .get()
              .parse(command.options(), joinValues(command, arguments));
      Arguments parsed = new Arguments(command.name(), line);
      parsed.checkShape(command);
      return parsed;
    } catch (ParseException e) {
      throw new UsageException(explain(command, e));
    }
  }

  /**
   * Writes {@code --name value} as {@code --name=value}, so that a value may begin with a dash, as
   * a prompt or a path does now and then, and refuses options with one dash.
   */
  private static String[] joinValues(Command command, List<String> arguments)
      throws ParseException {
    List<String> joined = new ArrayList<>();
    for (int i = 0; i < arguments.size(); i++) {
      String argument = arguments.get(i);
      Option option = optionOf(command, argument);
      if (option != null && option.hasArg() && !argument.contains("=")) {
        String value = i + 1 < arguments.size() ? arguments.get(++i) : null;
        if (value == null || optionOf(command, value) != null) {
          throw new MissingArgumentException(option);
        }
        joined.add(argument + "=" + value);
      } else if (argument.startsWith("-") && (option == null)) {
        throw new UnrecognizedOptionException(argument, argument);
      } else {
        joined.add(argument);
      }
    }
    return joined.toArray(String[]::new);
  }

  private static String explain(Command command, ParseException error) {
    if (error instanceof MissingArgumentException missing) {
      Option option = missing.getOption();
      return "--" + option.getLongOpt() + " needs a value: " + option.getDescription();
    }
    if (error instanceof AlreadySelectedException) {
      return error.getMessage();
    }
    if (error instanceof UnrecognizedOptionException unknown) {
      String name = unknown.getOption().replaceFirst("^-+", "").replaceFirst("=.*", "");
      Collection<String> known =
          command.options().getOptions().stream().map(Option::getLongOpt).toList();
      String hint = Suggestions.didYouMean(name, known, "--");
      return command.name()
          + " has no option "
          + unknown.getOption()
          + (hint.isEmpty() ? ": see rora " + command.name() + " --help" : hint);
    }
    return error.getMessage() + ": see rora " + command.name() + " --help";
  }

  private void checkShape(Command command) {
    for (Option option : command.options().getOptions()) {
      String[] values = line.getOptionValues(option.getLongOpt());
      if (values != null && values.length > 1) {
        throw new UsageException("--" + option.getLongOpt() + " is given twice: give it once");
      }
    }
    int count = line.getArgList().size();
    if (count > command.positional()) {
      String stray = line.getArgList().get(command.positional());
      throw new UsageException(
          "unexpected argument '" + stray + "': options begin with --; a text needs quotes");
    }
    if (count < command.positional()) {
      throw new UsageException("usage: rora " + command.name() + " " + command.usage());
    }
  }

  /** The i-th argument that is no option. */
  String positional(int i) {
    return line.getArgList().get(i);
  }

  /** Whether the user wrote this option. */
  boolean given(String name) {
    return line.hasOption(name);
  }

  /** The value of an option, if the user wrote it. */
  Optional<String> text(String name) {
    return Optional.ofNullable(line.getOptionValue(name));
  }

  /** The value of an option that the command cannot do without. */
  String required(String name) {
    return text(name)
        .orElseThrow(
            () -> new UsageException("--" + name + " is missing: see rora " + command + " --help"));
  }

  /** A path the command cannot do without. */
  Path requiredPath(String name) {
    required(name);
    return path(name).orElseThrow();
  }

  /** A path, if the user wrote one. */
  Optional<Path> path(String name) {
    return text(name).map(value -> asPath("--" + name, value));
  }

  /** Several paths, separated by commas. */
  List<Path> paths(String name) {
    return list(name).stream().map(value -> asPath("--" + name, value)).toList();
  }

  static Path asPath(String what, String value) {
    if (value.isEmpty()) {
      throw new UsageException(what + " is empty: name a file or folder");
    }
    try {
      return Path.of(value);
    } catch (InvalidPathException e) {
      throw new UsageException(what + " is not a path: " + e.getMessage());
    }
  }

  /** The parts between commas, in order; none may be empty. */
  List<String> list(String name) {
    String value = line.getOptionValue(name);
    if (value == null) {
      return List.of();
    }
    List<String> parts = List.of(value.split(",", -1));
    if (parts.stream().anyMatch(String::isBlank)) {
      throw new UsageException("--" + name + "=" + value + " has an empty part: check the commas");
    }
    return parts.stream().map(String::strip).toList();
  }

  /** {@code k=v,k=v} in order. */
  Map<String, String> pairs(String name) {
    Map<String, String> pairs = new LinkedHashMap<>();
    for (String part : list(name)) {
      int equals = part.lastIndexOf('=');
      if (equals < 1 || equals == part.length() - 1) {
        throw new UsageException("--" + name + ": '" + part + "' must be name=value");
      }
      if (pairs.put(part.substring(0, equals), part.substring(equals + 1)) != null) {
        throw new UsageException(
            "--" + name + " names " + part.substring(0, equals) + " twice: name it once");
      }
    }
    return pairs;
  }

  /** A whole number from {@code min} to {@code max}. */
  long integer(String name, long byDefault, long min, long max) {
    return text(name).map(value -> asInteger("--" + name, value, min, max)).orElse(byDefault);
  }

  /** A whole number from {@code min} on that fits an int. */
  int integer(String name, int byDefault, int min) {
    return (int) integer(name, (long) byDefault, min, Integer.MAX_VALUE);
  }

  static long asInteger(String what, String value, long min, long max) {
    try {
      long number = Long.parseLong(value);
      if (number >= min && number <= max) {
        return number;
      }
    } catch (NumberFormatException e) {
      // Said below, together with the range.
    }
    String range = max >= Integer.MAX_VALUE ? "from " + min + " on" : min + " to " + max;
    throw new UsageException(what + "=" + value + ": must be a whole number, " + range);
  }

  /** A finite number from {@code min} to {@code max}. */
  double number(String name, double byDefault, double min, double max) {
    return text(name).map(value -> asNumber("--" + name, value, min, max)).orElse(byDefault);
  }

  static double asNumber(String what, String value, double min, double max) {
    try {
      double number = Double.parseDouble(value);
      boolean plain = value.chars().noneMatch(c -> "dDfFxX".indexOf(c) >= 0); // Java's own forms
      if (plain && Double.isFinite(number) && number >= min && number <= max) {
        return number;
      }
    } catch (NumberFormatException e) {
      // Said below, together with the range.
    }
    throw new UsageException(what + "=" + value + ": must be a number" + range(min, max));
  }

  private static String range(double min, double max) {
    if (min == -Double.MAX_VALUE) {
      return "";
    }
    return max == Double.MAX_VALUE
        ? ", from " + plain(min) + " on"
        : ", " + plain(min) + " to " + plain(max);
  }

  private static String plain(double number) {
    return number == Math.rint(number) && Math.abs(number) < 1e9
        ? Long.toString((long) number)
        : Double.toString(number);
  }

  /** One of the given words; the first is the default. */
  String choice(String name, String... words) {
    String value = line.getOptionValue(name, words[0]);
    if (!List.of(words).contains(value)) {
      String hint = Suggestions.didYouMean(value, List.of(words), "");
      throw new UsageException(
          "--"
              + name
              + "="
              + value
              + ": must be one of "
              + String.join(", ", words)
              + (hint.isEmpty() ? "" : ";" + hint.substring(1)));
    }
    return value;
  }

  /** The constant of an enum that an option names in lower case, if the user wrote it. */
  <E extends Enum<E>> Optional<E> chosen(String name, Class<E> type) {
    if (!given(name)) {
      return Optional.empty();
    }
    E[] constants = type.getEnumConstants();
    String[] words = new String[constants.length];
    for (int i = 0; i < words.length; i++) {
      words[i] = constants[i].name().toLowerCase(Locale.ROOT);
    }
    return Optional.of(constants[List.of(words).indexOf(choice(name, words))]);
  }

  /** Hands a whole number from {@code min} on over, if the user wrote one. */
  void ifInteger(String name, int min, IntConsumer target) {
    if (given(name)) {
      target.accept(integer(name, min, min));
    }
  }

  /** Hands a finite number over, if the user wrote one. */
  void ifNumber(String name, DoubleConsumer target) {
    if (given(name)) {
      target.accept(number(name, 0, -Double.MAX_VALUE, Double.MAX_VALUE));
    }
  }

  /**
   * Refuses options that mean nothing here.
   *
   * @param reason why, ending the sentence that the option's name begins
   */
  void refuse(String reason, String... names) {
    for (String name : names) {
      if (given(name)) {
        throw new UsageException("--" + name + " " + reason);
      }
    }
  }
}
