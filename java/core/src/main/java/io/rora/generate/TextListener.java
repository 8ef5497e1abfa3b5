package io.rora.generate;

/** Hears generated text as it comes. */
@FunctionalInterface
public interface TextListener {
  /**
   * Called with each piece of text, never with part of a character.
   *
   * @return whether to go on; false ends the generation
   */
  boolean onText(String piece);

  /**
   * Called once the model has read the prompt, before the first token is chosen; not at all if the
   * prompt leaves no room for one.
   *
   * @param tokens of the prompt
   */
  default void onPrompt(int tokens) {}

  /** Hears nothing and never ends a generation. */
  static TextListener none() {
    return piece -> true;
  }
}
