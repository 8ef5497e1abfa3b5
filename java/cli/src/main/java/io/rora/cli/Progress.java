package io.rora.cli;

import io.rora.evaluate.EvaluationListener;
import io.rora.model.LoadListener;

/** Shows how far something counted has come: one line redrawn on a terminal, a few lines else. */
final class Progress implements EvaluationListener, LoadListener {
  private static final int LINES = 10;
  // What is done within this time needs no lines.
  private static final long QUIET_NANOS = 2_000_000_000L;
  private static final long REDRAW_NANOS = 100_000_000L;

  private final Console console;
  private final String what;
  private final long startNanos = System.nanoTime();
  private long shownTenth;
  private long shownNanos;

  /**
   * Makes the display of one thing.
   *
   * @param what stands before the figures
   */
  Progress(Console console, String what) {
    this.console = console;
    this.what = what;
  }

  @Override
  public void onRows(int done, int total) {
    show(done, total, done + " of " + total);
  }

  @Override
  public void onProgress(String tensor, long elements, long total) {
    show(elements, total, Units.percent((double) elements / total));
  }

  private void show(long done, long total, String figures) {
    if (console.terminal()) {
      long now = System.nanoTime();
      if (done == total || now - shownNanos > REDRAW_NANOS) {
        shownNanos = now;
        console
            .err()
            .print("\r" + what + ": " + figures + "\u001b[K" + (done == total ? "\n" : ""));
        console.err().flush();
      }
      return;
    }
    long tenth = done * LINES / Math.max(1, total);
    if (tenth > shownTenth && System.nanoTime() - startNanos > QUIET_NANOS) {
      shownTenth = tenth;
      console.progress(what + ": " + figures);
    }
  }
}
