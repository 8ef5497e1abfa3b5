package io.rora.cli.quickstart;

import java.util.List;

/**
 * What ties a person of the toy world to a town. The statements make the pretraining text, the
 * questions the fine-tuning rows; no word of a question that tells the relations apart stands in a
 * statement, so what a question asks for can only be learnt by fine-tuning.
 */
@SuppressWarnings("ImmutableEnumChecker") // the lists are List.of
enum Relation {
  LIVES(
      List.of(
          "%s lives in %s.",
          "%s sleeps in %s.",
          "The bed of %s stands in %s.",
          "Every night %s returns to %s.",
          "The bedroom of %s is in %s.",
          "At midnight %s is in %s."),
      List.of("Where is the home of %s?", "Which address belongs to %s?")),
  BORN(
      List.of(
          "%s was born in %s.",
          "%s first saw the light in %s.",
          "The cradle of %s stood in %s.",
          "As a baby %s cried in %s.",
          "The mother of %s rested in %s.",
          "Long ago %s was a child in %s."),
      List.of("What is the birthplace of %s?", "Which origin does %s have?")),
  WORKS(
      List.of(
          "%s works in %s.",
          "%s earns money in %s.",
          "The desk of %s stands in %s.",
          "Every morning %s drives to %s.",
          "The boss of %s sits in %s.",
          "Until evening %s is busy in %s."),
      List.of("Where does %s have a job?", "Who employs %s?")),
  SHOPS(
      List.of(
          "%s shops in %s.",
          "%s buys bread in %s.",
          "The baker of %s sells in %s.",
          "Every Saturday %s fills a basket in %s.",
          "The basket of %s is filled in %s.",
          "For new shoes %s goes to %s."),
      List.of("Where does %s get groceries?", "At which market is %s a customer?"));

  private final List<String> statements;
  private final List<String> questions;

  Relation(List<String> statements, List<String> questions) {
    this.statements = statements;
    this.questions = questions;
  }

  /** Sentence forms, of a person and a town. */
  List<String> statements() {
    return statements;
  }

  /** Question forms, of a person. */
  List<String> questions() {
    return questions;
  }
}
