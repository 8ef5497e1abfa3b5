package io.rora.cli;

import io.rora.train.StepMetrics;
import io.rora.train.TrainListener;
import io.rora.train.TrainStart;
import java.nio.file.Path;
import java.time.Duration;
import java.util.function.BooleanSupplier;
import me.tongfei.progressbar.ConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;

/**
 * Shows how a run goes on: a bar with loss, tokens/s and time left on a terminal, plain lines
 * elsewhere.
 */
public final class TrainProgress implements TrainListener, AutoCloseable {
  // Lines of a whole run, and the longest silence, where there is no terminal.
  private static final int LINES = 20;
  private static final long SILENCE_NANOS = 30_000_000_000L;
  private static final int REDRAW_MILLIS = 200;

  private final Console console;
  private final String name;
  private final BooleanSupplier cancelled;
  private ProgressBar bar;
  private int steps;
  private int firstStep;
  private int lineEvery = 1;
  private long startNanos;
  private long lineNanos;

  /**
   * Makes the display of one run.
   *
   * @param name what stands before every line
   * @param cancelled asked after every step whether to stop
   */
  public TrainProgress(Console console, String name, BooleanSupplier cancelled) {
    this.console = console;
    this.name = name;
    this.cancelled = cancelled;
  }

  @Override
  public void onPhase(String what) {
    line(what);
  }

  @Override
  public void onStart(TrainStart start) {
    steps = start.steps();
    firstStep = start.firstStep();
    lineEvery = Math.max(1, steps / LINES);
    startNanos = System.nanoTime();
    lineNanos = startNanos;
    if (start.firstStep() > 1) {
      line("going on after step " + (start.firstStep() - 1));
    }
    line(
        Units.format(
            "%s trained parameters, %d steps, micro batch %d, recomputing %s, about %.2f GB of memory",
            Units.count(start.parameters()),
            steps,
            start.microBatchSize(),
            start.checkpointing().equals("none") ? "nothing" : start.checkpointing(),
            start.estimate() / 1e9));
    if (console.terminal()) {
      bar = newBar();
    }
  }

  private ProgressBar newBar() {
    return new ProgressBarBuilder()
        .setTaskName(name)
        .setInitialMax(steps)
        .setStyle(ProgressBarStyle.ASCII)
        .setUpdateIntervalMillis(REDRAW_MILLIS)
        .setConsumer(new ConsoleProgressBarConsumer(console.err()))
        .startsFrom(firstStep - 1, Duration.ZERO)
        .build();
  }

  @Override
  public void onStep(StepMetrics step) {
    String text = Units.format("loss %.4f, %.0f tokens/s", step.loss(), step.tokensPerSecond());
    if (bar != null) {
      bar.setExtraMessage(" " + text);
      bar.stepTo(step.step());
      return;
    }
    long now = System.nanoTime();
    boolean due = step.step() % lineEvery == 0 || step.step() == firstStep;
    if (due || step.step() == steps || now - lineNanos > SILENCE_NANOS) {
      lineNanos = now;
      line("step " + step.step() + "/" + steps + ": " + text + ", left " + left(step.step(), now));
    }
  }

  private String left(int step, long now) {
    double perStep = (now - startNanos) * 1e-9 / (step - firstStep + 1);
    return Units.duration(perStep * (steps - step));
  }

  @Override
  public void onEvaluation(int step, double loss, boolean best) {
    String mark = best ? ", the best so far" : "";
    line(Units.format("step %d: evaluation loss %.4f%s", step, loss, mark));
  }

  @Override
  public void onCheckpoint(int step, Path directory) {
    // Checkpoints come as often as asked for; a line for each would say nothing new.
  }

  @Override
  public void onWarning(String message) {
    clearBar();
    console.warn(message);
  }

  @Override
  public boolean isCancelled() {
    return cancelled.getAsBoolean();
  }

  private void line(String text) {
    clearBar();
    console.progress(name + ": " + ErrorReport.oneLine(text));
  }

  /** The bar draws itself again below the line that is written in its place. */
  private void clearBar() {
    if (bar != null) {
      console.err().print("\r\u001b[K");
    }
  }

  /** Ends the bar. A second call does nothing. */
  @Override
  public void close() {
    if (bar != null) {
      bar.close();
      bar = null;
    }
  }
}
