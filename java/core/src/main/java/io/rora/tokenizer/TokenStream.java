package io.rora.tokenizer;

import java.util.Arrays;

/**
 * Turns tokens into text as they come. A piece is held back while it ends within a character of
 * several bytes, so that no piece has half a character; {@link #finish} gives what is left.
 *
 * <p>Not thread-safe.
 */
public final class TokenStream {
  /** Text that still ends in a broken character after so many tokens will not become whole. */
  private static final int MAX_HELD = 16;

  private static final char REPLACEMENT = '\uFFFD';

  private final Tokenizer tokenizer;
  private int[] ids;
  private int count;

  /** Text before {@code shown} is out; it is decoded again from {@code window} on, for context. */
  private int window;

  private int shown;

  TokenStream(Tokenizer tokenizer, int[] context) {
    this.tokenizer = tokenizer;
    this.ids = Arrays.copyOf(context, Math.max(64, context.length * 2));
    this.count = context.length;
    this.shown = context.length;
    this.window = Math.max(0, context.length - MAX_HELD);
  }

  /** Takes a token and returns the text that is now certain, often empty. */
  public String add(int id) {
    if (count == ids.length) {
      ids = Arrays.copyOf(ids, 2 * count);
    }
    ids[count++] = id;
    return take(count - shown >= MAX_HELD);
  }

  /** Returns the text that was held back, however it ends. */
  public String finish() {
    return take(true);
  }

  private String take(boolean whatever) {
    String before = tokenizer.decode(ids, window, shown, true);
    String now = tokenizer.decode(ids, window, count, true);
    boolean broken = !now.isEmpty() && now.charAt(now.length() - 1) == REPLACEMENT;
    if (now.length() <= before.length() || (broken && !whatever)) {
      return "";
    }
    window = shown;
    shown = count;
    return now.substring(before.length());
  }
}
