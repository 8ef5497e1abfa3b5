package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertTrue;

import com.sun.management.ThreadMXBean;
import io.rora.adapter.AdapterConfig;
import io.rora.adapter.AdapterInit;
import io.rora.adapter.AdapterInitializer;
import io.rora.adapter.AdapterSet;
import io.rora.adapter.InitListener;
import io.rora.kernels.Batch;
import io.rora.kernels.RoraContext;
import io.rora.model.Checkpointing;
import io.rora.model.LlamaModel;
import io.rora.model.LlamaPass;
import io.rora.model.WeightSource;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class AllocationTest {
  private static final int WARM_UP = 30;
  private static final int MEASURED = 60;

  @TempDir Path temporary;

  // 23 rows in batches of 3: the measured steps go through several epochs and their shuffles.
  @ParameterizedTest
  @ValueSource(strings = {"RORA", "DORA"})
  void aStepAllocatesNothing(String method) throws IOException {
    TrainOptions options =
        Runs.plain(temporary.resolve("unused"))
            .method(Method.valueOf(method))
            .loraPlusRatio(2)
            .microBatchSize(1)
            .maxSteps(WARM_UP + MEASURED)
            .build();
    TrainingData data = TrainingData.read(options);
    MicroBatch micro = MicroBatch.of(options, 1, data.longest(), Checkpointing.LAYER);
    try (RoraContext context = RoraContext.open("cpu", 1);
        WeightSource source = WeightSource.open(options.model());
        LlamaModel model = LlamaModel.load(context, source, options.dtype())) {
      AdapterConfig config = options.adapter().resolve(model.config(), null, "m");
      AdapterSet set = AdapterSet.create(model, config, true);
      AdapterInitializer.initialise(set, AdapterInit.KAIMING, 1, InitListener.none());
      MemoryEstimate.Subject subject =
          new MemoryEstimate.Subject(model.config(), options.dtype(), config, 0);
      try (TrainedParameters parameters = new AdapterParameters(set, false, false);
          Optimizer optimizer = new Optimizer(context, parameters, options);
          LlamaPass pass =
              LlamaPass.create(model, subject.pass(micro.maxTokens(), micro.checkpointing()));
          Batch batch = context.batch(micro.maxTokens())) {
        parameters.attach(pass);
        LearningRateSchedule schedule =
            new LearningRateSchedule(1e-3, Schedule.COSINE, 2, options.maxSteps().getAsInt());
        StepRunner runner =
            new StepRunner(options, data.rows(), micro, batch, pass, optimizer, schedule);
        // Code of ours that allocated would do so in every step. Where the Java machine swaps code
        // it puts a few bytes of its own on the thread, now and then; with -Xint there are none.
        int allocating = allocating(runner);
        assertTrue(allocating <= MEASURED / 10, allocating + " of " + MEASURED + " steps");
      }
    }
  }

  private static int allocating(StepRunner runner) {
    ThreadMXBean threads = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    for (int t = 0; t < WARM_UP; t++) {
      assertTrue(runner.run(t));
    }
    threads.getCurrentThreadAllocatedBytes(); // the first call allocates for itself
    int allocating = 0;
    long before = threads.getCurrentThreadAllocatedBytes();
    for (int t = WARM_UP; t < WARM_UP + MEASURED; t++) {
      runner.run(t);
      long after = threads.getCurrentThreadAllocatedBytes();
      allocating += after == before ? 0 : 1;
      before = after;
    }
    return allocating;
  }
}
