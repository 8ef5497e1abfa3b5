package io.rora.train;

import io.rora.checkpoint.ArenaFile;
import io.rora.checkpoint.MetricsLog;
import io.rora.checkpoint.RunDirectory;
import io.rora.checkpoint.TrainerState;
import io.rora.files.DurableFiles;
import io.rora.files.DurableFiles.Body;
import io.rora.files.FileSink;
import io.rora.kernels.Batch;
import io.rora.kernels.FloatArray;
import io.rora.kernels.RoraContext;
import io.rora.model.LlamaPass;
import java.io.IOException;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.OptionalDouble;

/**
 * Steps, evaluations and checkpoints. After a step come, in this order, its line in metrics.jsonl,
 * the evaluation with {@code best/}, and the checkpoint: what a checkpoint builds on is on disk
 * before it.
 */
final class TrainingLoop {
  private static final double NANOS = 1e9;
  private static final double MIB = 1 << 20;

  private final TrainOptions options;
  private final int steps;
  private final TrainListener listener;
  private final RunDirectory run;
  private final DurableFiles files;
  private final TrainingData data;
  private final RoraContext context;
  private final TrainedParameters parameters;
  private final Optimizer optimizer;
  private final LlamaPass pass;
  private final Batch batch;
  private final StepRunner runner;
  private final LossEvaluator evaluator;
  private final LearningRateSchedule schedule;
  private final Machine machine;
  private OptionalDouble bestLoss = OptionalDouble.empty();
  private OptionalDouble lastLoss = OptionalDouble.empty();
  private boolean warned;
  private int done;

  /** What a loop works on and with. */
  record Parts(
      TrainOptions options,
      int steps,
      TrainListener listener,
      RunDirectory run,
      DurableFiles files,
      TrainingData data,
      RoraContext context,
      TrainedParameters parameters,
      Optimizer optimizer,
      LlamaPass pass,
      Batch batch,
      MicroBatch micro,
      Machine machine) {}

  TrainingLoop(Parts parts) {
    options = parts.options();
    steps = parts.steps();
    listener = parts.listener();
    run = parts.run();
    files = parts.files();
    data = parts.data();
    context = parts.context();
    parameters = parts.parameters();
    optimizer = parts.optimizer();
    pass = parts.pass();
    batch = parts.batch();
    machine = parts.machine();
    schedule =
        new LearningRateSchedule(
            options.learningRate(), options.schedule(), options.warmupSteps(), steps);
    runner = new StepRunner(options, data.rows(), parts.micro(), batch, pass, optimizer, schedule);
    evaluator = data.evalRows() == null ? null : new LossEvaluator(data.evalRows(), parts.micro());
  }

  /** Goes back to a checkpoint of this run. */
  void restore(int step) throws IOException {
    Path directory = run.checkpoint(step);
    TrainerState state = TrainerState.read(directory);
    if (state.step() != step || state.seed() != options.seed()) {
      throw new TrainingException(
          directory + " is not of step " + step + " of this run: delete it and resume again");
    }
    if (!parameters.writeRounds()) {
      parameters.read(directory);
    }
    ArenaFile.read(directory.resolve(ArenaFile.FILE), arenas());
    parameters.refresh();
    bestLoss = state.bestLoss();
    done = step;
  }

  private Map<String, FloatArray> arenas() {
    Map<String, FloatArray> arenas = new LinkedHashMap<>();
    arenas.put("exp_avg", optimizer.firstMoments());
    arenas.put("exp_avg_sq", optimizer.secondMoments());
    if (parameters.writeRounds()) {
      arenas.put("values", parameters.values());
    }
    return arenas;
  }

  /** Takes the steps that are left. */
  TrainResult run() throws IOException {
    try (MetricsLog metrics = MetricsLog.open(run.metrics(), done)) {
      while (done < steps) {
        step(metrics);
        boolean last = done == steps;
        if (evaluator != null && (last || done % options.evalSteps() == 0)) {
          evaluate(metrics);
        }
        boolean cancelled = listener.isCancelled();
        if (last || cancelled || done % options.saveSteps() == 0) {
          metrics.sync();
          checkpoint();
        }
        if (cancelled && !last) {
          return result(TrainResult.Status.CANCELLED);
        }
      }
    }
    return result(TrainResult.Status.FINISHED);
  }

  private TrainResult result(TrainResult.Status status) {
    return new TrainResult(status, done, steps, lastLoss, bestLoss, run.root());
  }

  private void step(MetricsLog metrics) throws IOException {
    long begin = System.nanoTime();
    double rate = schedule.at(done);
    if (!runner.run(done)) {
      throw notFinite();
    }
    double seconds = (System.nanoTime() - begin) / NANOS;
    done++;
    lastLoss = OptionalDouble.of(runner.loss());
    warnOfNothing();
    StepMetrics step =
        new StepMetrics(
            done,
            runner.loss(),
            runner.gradNorm(),
            rate,
            runner.tokens(),
            runner.supervised(),
            seconds,
            runner.tokens() / seconds,
            Math.max(0, machine.peakBytes()) / MIB);
    metrics.append(line(step));
    listener.onStep(step);
  }

  private static Map<String, Object> line(StepMetrics step) {
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("step", step.step());
    line.put("loss", step.loss());
    line.put("grad_norm", step.gradNorm());
    line.put("lr", step.learningRate());
    line.put("tokens", step.tokens());
    line.put("supervised_tokens", step.supervisedTokens());
    line.put("seconds", step.seconds());
    line.put("tokens_per_second", step.tokensPerSecond());
    line.put("rss_mib", step.rssMib());
    return line;
  }

  private void warnOfNothing() {
    if (runner.supervised() == 0 && !warned) {
      warned = true;
      listener.onWarning(
          "step "
              + done
              + " has nothing to learn from: within --cutoff-len "
              + options.cutoffLen()
              + " no response is left of "
              + data.names(runner.rows()));
    }
  }

  /**
   * Stops the run; what is on disk stays, and where nothing is yet the values of the last step go.
   */
  private TrainingException notFinite() throws IOException {
    boolean lossIsFinite = Double.isFinite(runner.loss());
    String what = lossIsFinite ? "gradient" : "loss";
    boolean written = run.newestCheckpoint().isPresent();
    if (!written && done > 0 && Double.isFinite(context.sumOfSquares(parameters.values()))) {
      parameters.write(FileSink.into(files, run.root()));
    }
    return new TrainingException(
        "step "
            + (done + 1)
            + ": the "
            + what
            + " is not finite, on "
            + data.names(runner.rows())
            + ". The run stopped and what "
            + run.root()
            + " holds is from before; lower --lr, add --warmup-steps, or look at these rows");
  }

  private void evaluate(MetricsLog metrics) throws IOException {
    double loss = evaluator.loss(pass, batch);
    if (!Double.isFinite(loss)) {
      throw new TrainingException(
          "step "
              + done
              + ": the evaluation loss is not finite. The run stopped and what "
              + run.root()
              + " holds is from before; lower --lr or add --warmup-steps");
    }
    Map<String, Object> line = new LinkedHashMap<>();
    line.put("step", done);
    line.put("eval_loss", loss);
    metrics.append(line);
    boolean best = bestLoss.isEmpty() || loss < bestLoss.getAsDouble();
    if (best) {
      bestLoss = OptionalDouble.of(loss);
      files.writeDirectory(run.best(), folder -> parameters.write(folder::write));
    }
    listener.onEvaluation(done, loss, best);
  }

  private void checkpoint() throws IOException {
    Path directory = run.checkpoint(done);
    TrainerState state =
        new TrainerState(
            done, options.seed(), (long) done * options.batchSize(), schedule.at(done), bestLoss);
    files.writeDirectory(
        directory,
        folder -> {
          parameters.write(folder::write);
          folder.write(ArenaFile.FILE, ArenaFile.body(arenas()));
          folder.write(TrainerState.FILE, Body.of(state.toJson()));
        });
    if (done == steps || !parameters.writeRounds()) {
      parameters.write(FileSink.into(files, run.root()));
    }
    run.prune();
    listener.onCheckpoint(done, directory);
  }
}
