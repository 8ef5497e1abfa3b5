package io.rora.cli;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;

/**
 * Makes Ctrl-C and SIGTERM end a run after the present step, with a checkpoint, instead of in the
 * middle of it. The process is held back until the run has ended.
 */
final class Interrupt implements BooleanSupplier, AutoCloseable {
  private static final long PATIENCE_SECONDS = 600;
  // For the last line: after it the owner waits in System.exit for this very hook.
  private static final long FAREWELL_MILLIS = 300;

  private final Console console;
  private final Thread owner = Thread.currentThread();
  private final CountDownLatch ended = new CountDownLatch(1);
  private final Thread hook = new Thread(this::hold, "rora-interrupt");
  private volatile boolean requested;

  private Interrupt(Console console) {
    this.console = console;
  }

  /** Listens from now on, until it is closed. */
  static Interrupt listen(Console console) {
    Interrupt interrupt = new Interrupt(console);
    Runtime.getRuntime().addShutdownHook(interrupt.hook);
    return interrupt;
  }

  private void hold() {
    requested = true;
    console.progress("stopping after this step; a checkpoint is written");
    try {
      if (!ended.await(PATIENCE_SECONDS, TimeUnit.SECONDS)) {
        console.warn("the run did not end in time; --resume goes on from the newest checkpoint");
      }
      owner.join(FAREWELL_MILLIS);
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** Whether the user asked to stop. */
  @Override
  public boolean getAsBoolean() {
    return requested;
  }

  @Override
  public void close() {
    ended.countDown();
    if (!requested) {
      try {
        Runtime.getRuntime().removeShutdownHook(hook);
      } catch (IllegalStateException e) {
        // The process is ending already; the hook sees the latch.
      }
    }
  }
}
