package io.rora.cli;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

class ArgumentsTest {
  static Stream<Command> commands() {
    return Main.commands().stream();
  }

  @ParameterizedTest
  @MethodSource("commands")
  void helpOfEveryCommandShowsAllOptionsAndAnExample(Command command) {
    Cli.Result help = Cli.run(command.name(), "--help").expect(0);
    assertEquals("", help.err());
    command
        .options()
        .getOptions()
        .forEach(option -> assertTrue(help.out().contains("--" + option.getLongOpt())));
    assertTrue(help.out().contains("example:\n  rora " + command.name()), help.out());
    assertEquals(help, Cli.run("help", command.name()));
  }

  @ParameterizedTest
  @MethodSource("commands")
  void examplesInHelpParse(Command command) {
    List<String> words = List.of(command.example().replaceAll("\"[^\"]*\"", "text").split(" "));
    assertEquals(command.name(), words.get(0));
    Arguments.parse(command, words.subList(1, words.size()));
  }

  @Test
  void overviewListsEveryCommandAndNothingThatDoesNotExist() {
    String overview = Cli.run("--help").expect(0).out();
    Main.commands().forEach(c -> assertTrue(overview.contains("\n  " + c.name() + " "), overview));
    assertTrue(!overview.contains("prune"), overview);
  }

  @Test
  void versionGoesToStandardOutput() {
    assertTrue(Cli.run("--version").expect(0).out().startsWith("rora 0."));
  }

  /** What was typed; what the error line must say. All are wrong by the arguments alone. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "'' | no command",
        "trian | did you mean train?",
        "frobnicate | one of quickstart, train",
        "train --modle m | did you mean --model?",
        "train --model | --model needs a value",
        "train --model --data d | --model needs a value",
        "train -model m | train has no option -model: did you mean --model?",
        "train --rank 4 --rank 8 | --rank is given twice",
        "train --rank | --rank needs a value",
        "train stray | unexpected argument 'stray'",
        "train --data d --out o | --model is missing",
        "train --model m --out o | --data is missing",
        "train --model m --data d | --out is missing",
        "train --model m --data d, --out o | empty part",
        "train --model m --data d --out o --rank 0 | --rank=0: must be a whole number, from 1 on",
        "train --model m --data d --out o --rank 1.5 | --rank=1.5",
        "train --model m --data d --out o --rank 99999999999 | --rank=99999999999",
        "train --model m --data d --out o --lr x | --lr=x: must be a number",
        "train --model m --data d --out o --lr NaN | --lr=NaN",
        "train --model m --data d --out o --lr 1f | --lr=1f",
        "train --model m --data d --out o --lr -1 | --lr",
        "train --model m --data d --out o --lr 0 | --lr",
        "train --model m --data d --out o --dropout 1 | --dropout",
        "train --model m --data d --out o --method roar | did you mean rora?",
        "train --model m --data d --out o --scaling rora | --scaling is for --method dora",
        "train --model m --data d --out o --method full --rank 4 | --rank",
        "train --model m --data d --out o --method full --dropout 0.1 | --dropout",
        "train --model m --data d --out o --method full --init pissa | --init",
        "train --model m --data d --out o --method full --rank-pattern a=1 | --rank-pattern",
        "train --model m --data d --out o --init pissa --init-adapter x | --init-adapter",
        "train --model m --data d --out o --epochs 1 --max-steps 2 | --max-steps",
        "train --model m --data d --out o --eval-steps 5 | --eval-data",
        "train --model m --data d --out o --micro-batch-size 32 | --micro-batch-size",
        "train --model m --data d --out o --rank-pattern a | 'a' must be name=value",
        "train --model m --data d --out o --rank-pattern a=1,a=2 | names a twice",
        "train --model m --data d --out o --rank-pattern a=x | --rank-pattern a=x",
        "train --model m --data d --out o --rank-pattern (=1 | regular expression",
        "train --model m --data d --out o --device gpu | must be cpu, cuda or cuda:i",
        "train --model m --data d --out o --dtype fp16 | must be one of bf16, fp32",
        "train --model m --data d --out o --keep-sparsity | not available yet",
        "train --model m --data d --out o --threads -1 | --threads=-1",
        "train --model m --data d --out o --threads 1025 | --threads=1025: must be a whole number, 0 to 1024",
        "eval --model m --data d | --task is missing",
        "eval --model m --data d --task quiz | must be one of choice, cloze",
        "eval --model m --data d --task cloze --num-beams 2 | --num-beams is for --task generate",
        "eval --model m --data d --task cloze --prompt-template plain | --task perplexity",
        "eval --model m --data d --task choice --cutoff-len 9 | --task perplexity",
        "eval --model m --data d --task cloze --limit 0 | --limit=0",
        "generate --model m | --prompt is missing",
        "generate --model m --prompt p --top-p 0.5 | give a --temperature above 0",
        "generate --model m --prompt p --temperature 1 --top-p 0 | --top-p=0",
        "generate --model m --prompt p --temperature -1 | --temperature=-1",
        "generate --model m --prompt p --max-new-tokens 0 | --max-new-tokens=0",
        "merge --model m --adapter a | --out is missing",
        "merge --model m --adapter a --out o --keep-sparsity | not available yet",
        "merge --model m --adapter a --out o --dtype q4 | must be one of bf16, fp32",
        "inspect | usage: rora inspect PATH",
        "inspect a b | unexpected argument 'b'",
        "quickstart --rebuild-base d --out o | --out has no meaning",
        "info --json | info has no option --json",
      })
  void wrongArgumentsExitWithTwoAndSayWhatToDo(String line, String says) {
    Cli.Result result = (line.isEmpty() ? Cli.run() : Cli.line(line)).expect(2);
    assertTrue(result.error().contains(says), result.err());
    assertEquals("", result.out());
    assertEquals(1, result.err().lines().count(), result.err());
  }

  @Test
  void valuesMayBeginWithDashesAndKeepTheirQuotes() {
    Command generate =
        Main.commands().stream().filter(c -> c.name().equals("generate")).findFirst().orElseThrow();
    for (String prompt : List.of("-5 degrees", "\"quoted\"", "--not an option", "", "a=b", "é\n")) {
      Arguments parsed = Arguments.parse(generate, List.of("--prompt", prompt));
      assertEquals(prompt, parsed.required("prompt"));
      assertEquals(
          prompt, Arguments.parse(generate, List.of("--prompt=" + prompt)).required("prompt"));
    }
    assertEquals(
        "--json", Arguments.parse(generate, List.of("--prompt=--json")).required("prompt"));
  }

  @Test
  void textThatTheLocaleCouldNotReadIsRefused() {
    assertTrue(
        Cli.run("generate", "--model", "m", "--prompt", "caf\uFFFD")
            .expect(2)
            .error()
            .contains("LC_ALL=C.UTF-8"));
  }
}
