package io.rora.cli;

import java.util.ArrayList;
import java.util.List;
import org.apache.commons.cli.Option;

/** The help texts, all made from what the commands say about themselves. */
final class Help {
  private static final int WIDTH = 100;
  private static final int INDENT = 30;

  private Help() {}

  /** All commands. */
  static String overview(List<Command> commands) {
    StringBuilder text = new StringBuilder();
    text.append("rora fine-tunes LLaMA-family language models with low-rank adapters.\n");
    text.append("\nusage: rora COMMAND [options]\n\n");
    for (Command command : commands) {
      text.append(String.format("  %-12s%s\n", command.name(), command.summary()));
    }
    return text.append(
            "\nrora COMMAND --help shows a command's options; rora --version the version.\n")
        .append("Start with: rora quickstart\n")
        .toString();
  }

  /** One command with its options and an example. */
  static String of(Command command) {
    StringBuilder text = new StringBuilder();
    text.append("usage: rora ").append(command.name()).append(' ').append(command.usage());
    text.append("\n\n").append(command.summary()).append("\n\noptions:\n");
    for (Option option : command.options().getOptions()) {
      text.append(row(option));
    }
    text.append("\nexample:\n  rora ").append(command.example()).append('\n');
    return text.toString();
  }

  private static String row(Option option) {
    String name = "  --" + option.getLongOpt();
    if (option.hasArg()) {
      name += " " + option.getArgName();
    }
    List<String> lines = wrap(option.getDescription(), WIDTH - INDENT);
    StringBuilder text = new StringBuilder();
    boolean fits = name.length() < INDENT;
    text.append(fits ? pad(name) + lines.get(0) : name).append('\n');
    for (String line : lines.subList(fits ? 1 : 0, lines.size())) {
      text.append(pad("")).append(line).append('\n');
    }
    return text.toString();
  }

  private static String pad(String text) {
    return text + " ".repeat(INDENT - text.length());
  }

  private static List<String> wrap(String text, int width) {
    List<String> lines = new ArrayList<>();
    StringBuilder line = new StringBuilder();
    for (String word : text.split(" ", -1)) {
      if (line.length() > 0 && line.length() + 1 + word.length() > width) {
        lines.add(line.toString());
        line.setLength(0);
      }
      line.append(line.length() == 0 ? "" : " ").append(word);
    }
    lines.add(line.toString());
    return lines;
  }
}
