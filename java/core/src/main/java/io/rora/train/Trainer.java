package io.rora.train;

import io.rora.adapter.AdapterConfig;
import io.rora.adapter.AdapterInit;
import io.rora.adapter.AdapterInitializer;
import io.rora.adapter.AdapterModule;
import io.rora.adapter.AdapterSet;
import io.rora.adapter.SavedAdapter;
import io.rora.checkpoint.ArenaFile;
import io.rora.checkpoint.MetricsLog;
import io.rora.checkpoint.RunDirectory;
import io.rora.checkpoint.TrainerState;
import io.rora.config.ModelConfig;
import io.rora.files.DurableFiles;
import io.rora.files.DurableFiles.Body;
import io.rora.files.FileReader;
import io.rora.files.FileSink;
import io.rora.kernels.Batch;
import io.rora.kernels.RoraContext;
import io.rora.model.Checkpointing;
import io.rora.model.LlamaModel;
import io.rora.model.LlamaPass;
import io.rora.model.WeightSource;
import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.DigestInputStream;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.List;
import java.util.Locale;
import java.util.OptionalDouble;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Set;
import java.util.stream.Stream;

/**
 * Fine-tunes a model: reads model and data, trains an adapter or all weights, and leaves a run
 * directory. A run that was stopped at any moment, by a listener or by force, can be resumed and
 * then ends with the same bits as if it had not been.
 */
public final class Trainer {
  private static final Set<String> TRAINING_ONLY = Set.of(ArenaFile.FILE, TrainerState.FILE);
  private static final int COPY_CHUNK = 1 << 16;

  private final TrainOptions options;
  private final TrainListener listener;
  private final DurableFiles files;
  private final Machine machine;

  private Trainer(
      TrainOptions options, TrainListener listener, DurableFiles files, Machine machine) {
    this.options = options;
    this.listener = listener;
    this.files = files;
    this.machine = machine;
  }

  /**
   * Runs to the end, or until the listener cancels. Everything happens on the calling thread,
   * beside the context's own.
   *
   * @throws IOException if a file cannot be read or written, or is not what it must be
   * @throws TrainingException if the run cannot begin or go on
   * @throws IllegalArgumentException if options do not fit the model
   */
  public static TrainResult run(TrainOptions options, TrainListener listener) throws IOException {
    return run(options, listener, new DurableFiles(), new Machine());
  }

  /** As {@link #run(TrainOptions, TrainListener)}, with seams for tests. */
  static TrainResult run(
      TrainOptions options, TrainListener listener, DurableFiles files, Machine machine)
      throws IOException {
    return new Trainer(options, listener, files, machine).run();
  }

  private TrainResult run() throws IOException {
    RunDirectory run = RunDirectory.open(files, options.out(), options.resume());
    listener.onPhase("reading the data");
    try (WeightSource source = WeightSource.open(options.model())) {
      TrainingData data = TrainingData.read(options);
      requireContext(data, source.config());
      AdapterConfig config = adapterConfig(source.config());
      RunManifest.Resolved resolved = resolve(source, data, config);
      boolean goesOn = options.resume() && Files.isRegularFile(run.manifest());
      RunManifest.Cut began = goesOn ? RunManifest.requireSame(run.manifest(), resolved) : null;
      OptionalInt checkpoint = goesOn ? run.newestCheckpoint() : OptionalInt.empty();
      if (checkpoint.isPresent() && checkpoint.getAsInt() >= resolved.steps()) {
        return finishAgain(run, resolved.steps());
      }
      return train(new Setup(run, source, data, config, resolved), began, checkpoint);
    }
  }

  /** What is known before the model is loaded. */
  private record Setup(
      RunDirectory run,
      WeightSource source,
      TrainingData data,
      AdapterConfig config,
      RunManifest.Resolved resolved) {}

  private static void requireContext(TrainingData data, ModelConfig model) {
    if (data.longest() > model.maxPositionEmbeddings()) {
      throw new TrainingException(
          "a row has "
              + data.longest()
              + " tokens and the model's context "
              + model.maxPositionEmbeddings()
              + ": set --cutoff-len to at most that");
    }
  }

  /** The configuration of the adapter as trained, or null for the whole model. */
  private AdapterConfig adapterConfig(ModelConfig model) throws IOException {
    AdapterOptions said = options.adapter();
    if (said.full()) {
      return null;
    }
    AdapterConfig start = null;
    if (said.initAdapter().isPresent()) {
      try (SavedAdapter saved = SavedAdapter.open(said.initAdapter().get())) {
        saved.requireFor(model);
        start = saved.config();
      }
    }
    AdapterConfig config = said.resolve(model, start, options.model().toString());
    warnOfIdlePatterns(config, model);
    return new AdapterConfig(
        config.baseModel(),
        config.scaling(),
        config.dora(),
        config.rank(),
        config.alpha(),
        options.dropout(),
        config.targets(),
        config.rankPattern(),
        config.alphaPattern());
  }

  private void warnOfIdlePatterns(AdapterConfig config, ModelConfig model) {
    List<AdapterModule> modules = config.modules(model);
    Stream.concat(config.rankPattern().keySet().stream(), config.alphaPattern().keySet().stream())
        .distinct()
        .filter(key -> modules.stream().noneMatch(m -> AdapterConfig.speaksFor(key, m.path())))
        .forEach(key -> listener.onWarning("pattern " + key + " matches none of the targets"));
  }

  private RunManifest.Resolved resolve(WeightSource source, TrainingData data, AdapterConfig config)
      throws IOException {
    Path init = options.adapter().initAdapter().orElse(null);
    return new RunManifest.Resolved(
        options,
        config,
        data.template(),
        steps(data.rows().rows()),
        source.sha256(),
        data.files(),
        data.evalFiles(),
        init == null ? null : sha256(init.resolve(SavedAdapter.TENSORS)));
  }

  private int steps(int rows) {
    if (options.maxSteps().isPresent()) {
      return options.maxSteps().getAsInt();
    }
    double steps = Math.ceil(options.epochs() * rows / options.batchSize());
    if (steps > Integer.MAX_VALUE) {
      throw new TrainingException("--epochs " + options.epochs() + " are more than 2^31 steps");
    }
    return (int) Math.max(1, steps);
  }

  private static String sha256(Path file) throws IOException {
    try (InputStream in = Files.newInputStream(file);
        DigestInputStream digest =
            new DigestInputStream(in, MessageDigest.getInstance("SHA-256"))) {
      byte[] chunk = new byte[COPY_CHUNK];
      int read;
      do {
        read = digest.read(chunk);
      } while (read >= 0);
      return HexFormat.of().formatHex(digest.getMessageDigest().digest());
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java has SHA-256", e);
    }
  }

  private TrainResult train(Setup setup, RunManifest.Cut began, OptionalInt checkpoint)
      throws IOException {
    AdapterConfig slab = slab(setup.config());
    MemoryEstimate.Subject subject =
        new MemoryEstimate.Subject(
            setup.source().config(), options.dtype(), slab, setup.data().bytes());
    try (RoraContext context = RoraContext.open(options.device(), options.threads())) {
      MicroBatch micro = cut(setup, subject, began, context);
      MemoryEstimate estimate = requireMemory(subject, micro, context);
      if (began != null && !began.isa().equals(context.isa())) {
        listener.onWarning(
            "the run began with the "
                + began.isa()
                + " kernels and goes on with "
                + context.isa()
                + ", so its last bits may differ from an unbroken run's");
      }
      listener.onPhase("reading the model");
      try (LlamaModel model = LlamaModel.load(context, setup.source(), options.dtype());
          TrainedParameters parameters = parameters(model, setup, slab, checkpoint.isPresent());
          Optimizer optimizer = new Optimizer(context, parameters, options);
          LlamaPass pass =
              LlamaPass.create(model, subject.pass(micro.maxTokens(), micro.checkpointing()));
          Batch batch = context.batch(micro.maxTokens())) {
        parameters.attach(pass);
        if (began == null) { // not before all input is read: bad input leaves --out as it was
          writeManifest(setup, micro, context);
        }
        TrainingLoop loop =
            new TrainingLoop(
                new TrainingLoop.Parts(
                    options,
                    setup.resolved().steps(),
                    listener,
                    setup.run(),
                    files,
                    setup.data(),
                    context,
                    parameters,
                    optimizer,
                    pass,
                    batch,
                    micro,
                    machine));
        if (checkpoint.isPresent()) {
          loop.restore(checkpoint.getAsInt());
        }
        listener.onStart(start(setup, parameters, micro, checkpoint.orElse(0), estimate));
        return loop.run();
      }
    }
  }

  /** PiSSA trains a slab of twice the rank. */
  private AdapterConfig slab(AdapterConfig config) {
    return config != null && startsFromPissa() ? config.doubled() : config;
  }

  private boolean startsFromPissa() {
    return options.adapter().initAdapter().isEmpty()
        && options.adapter().initOrDefault() == AdapterInit.PISSA;
  }

  private MicroBatch cut(
      Setup setup, MemoryEstimate.Subject subject, RunManifest.Cut began, RoraContext context) {
    int longest = setup.data().longest();
    long total = context.deviceMemory().orElseGet(machine::totalBytes);
    return began == null
        ? MicroBatch.choose(options, subject, longest, total)
        : MicroBatch.of(options, began.microBatchSize(), longest, began.checkpointing());
  }

  private MemoryEstimate requireMemory(
      MemoryEstimate.Subject subject, MicroBatch micro, RoraContext context) {
    MemoryEstimate estimate = MemoryEstimate.of(subject, micro.maxTokens(), micro.checkpointing());
    OptionalLong onDevice = context.freeDeviceMemory();
    estimate.requireFits(
        onDevice.orElseGet(machine::availableBytes),
        onDevice.isPresent() ? 0 : machine.residentBytes(),
        micro.size() == 1,
        micro.checkpointing() == Checkpointing.LAYER);
    return estimate;
  }

  private void writeManifest(Setup setup, MicroBatch micro, RoraContext context)
      throws IOException {
    RunManifest.Cut cut = new RunManifest.Cut(micro.size(), micro.checkpointing(), context.isa());
    String json = RunManifest.json(setup.resolved(), cut, context, machine.totalBytes());
    files.write(setup.run().manifest(), Body.of(json));
  }

  private TrainedParameters parameters(
      LlamaModel model, Setup setup, AdapterConfig slab, boolean restored) throws IOException {
    if (slab == null) {
      return new ModelParameters(model, setup.source());
    }
    boolean pissa = startsFromPissa();
    AdapterSet set = AdapterSet.create(model, slab, true);
    try {
      if (!restored) {
        initialise(set);
      }
      return new AdapterParameters(set, pissa, options.weightDecay() > 0);
    } catch (IOException | RuntimeException e) {
      set.close();
      throw e;
    }
  }

  private void initialise(AdapterSet set) throws IOException {
    AdapterOptions said = options.adapter();
    if (said.initAdapter().isPresent()) {
      try (SavedAdapter saved = SavedAdapter.open(said.initAdapter().get())) {
        set.copyFrom(saved);
      }
      return;
    }
    AdapterInitializer.initialise(
        set,
        said.initOrDefault(),
        options.seed(),
        (path, done, total) -> {
          if (said.initOrDefault() == AdapterInit.PISSA) {
            listener.onPhase("decomposing weights, " + done + " of " + total);
          }
        });
  }

  private TrainStart start(
      Setup setup,
      TrainedParameters parameters,
      MicroBatch micro,
      int done,
      MemoryEstimate estimate) {
    return new TrainStart(
        done + 1,
        setup.resolved().steps(),
        setup.data().rows().rows(),
        parameters.modules(),
        parameters.parameters(),
        micro.size(),
        micro.checkpointing().name().toLowerCase(Locale.ROOT),
        estimate.total());
  }

  /** A run whose last checkpoint stands: its result is written again from there. */
  private TrainResult finishAgain(RunDirectory run, int steps) throws IOException {
    Path checkpoint = run.checkpoint(steps);
    TrainerState state = TrainerState.read(checkpoint);
    FileSink sink = FileSink.into(files, run.root());
    try (Stream<Path> entries = Files.list(checkpoint)) {
      List<Path> inOrder =
          entries
              .filter(file -> !TRAINING_ONLY.contains(file.getFileName().toString()))
              .sorted(Comparator.comparing(file -> file.toString().endsWith(".json")))
              .toList();
      for (Path file : inOrder) {
        sink.write(file.getFileName().toString(), out -> copy(file, out));
      }
    }
    MetricsLog.open(run.metrics(), steps).close();
    run.prune();
    return new TrainResult(
        TrainResult.Status.FINISHED,
        steps,
        steps,
        OptionalDouble.empty(),
        state.bestLoss(),
        run.root());
  }

  private static void copy(Path file, WritableByteChannel out) throws IOException {
    ByteBuffer chunk = ByteBuffer.allocateDirect(COPY_CHUNK);
    try (FileReader reader = FileReader.open(file)) {
      for (long at = 0; at < reader.size(); at += COPY_CHUNK) {
        chunk.clear().limit((int) Math.min(COPY_CHUNK, reader.size() - at));
        reader.read(at, chunk);
        chunk.flip();
        out.write(chunk);
      }
    }
  }
}
