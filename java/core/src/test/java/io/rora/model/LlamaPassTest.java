package io.rora.model;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.config.ModelConfig;
import io.rora.kernels.Batch;
import io.rora.kernels.DataType;
import io.rora.kernels.FloatArray;
import io.rora.kernels.LowRank;
import io.rora.kernels.RoraContext;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;
import java.util.List;
import java.util.Map;
import java.util.function.DoubleSupplier;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.MethodSource;

class LlamaPassTest {
  // Sums of up to ~40 float products through ~20 operators: a few hundred roundings of 6e-8.
  private static final double TOLERANCE = 3e-5;
  private static final int[] LENGTHS = {5, 1, 17, 9};
  private static final double DIVISOR = 13;

  static Stream<String> configs() {
    return TinyConfigs.all().keySet().stream();
  }

  @ParameterizedTest
  @MethodSource("configs")
  void lossMatchesThePlainReference(String name) throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.all().get(name))) {
      List<int[]> documents = test.documents(LENGTHS);
      TestAdapters adapters = new TestAdapters(test.model, test.model.projectionPaths(), 3);
      PlainLlama plain = test.plain();
      LlamaPass pass =
          LlamaPass.create(test.model, PassOptions.evaluation(40).withRanks(adapters.ranks()));
      Batch batch = test.batch(documents, 40);
      double bare = plain.loss(documents, TestModel.PROMPT_TOKENS);
      assertEquals(bare, pass.loss(batch, null), TOLERANCE * bare, "without adapters");

      adapters.attach(pass);
      adapters.attach(plain);
      double adapted = plain.loss(documents, TestModel.PROMPT_TOKENS);
      assertTrue(Math.abs(adapted - bare) > 0.01 * bare, "the adapters must matter");
      assertEquals(adapted, pass.loss(batch, null), TOLERANCE * adapted, "with adapters");

      pass.detachAll();
      assertEquals(bare, pass.loss(batch, null), TOLERANCE * bare, "detached");
      pass.close();
    }
  }

  @ParameterizedTest
  @MethodSource("configs")
  void adapterGradientsMatchFiniteDifferences(String name) throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.all().get(name))) {
      List<int[]> documents = test.documents(LENGTHS);
      TestAdapters adapters = new TestAdapters(test.model, test.model.projectionPaths(), 3);
      PlainLlama plain = test.plain();
      adapters.attach(plain);
      gradients(test, documents, adapters, Checkpointing.NONE);
      DoubleSupplier loss = () -> plain.loss(documents, TestModel.PROMPT_TOKENS) / DIVISOR;
      adapters.entries.forEach(
          (path, entry) -> {
            PlainLlama.Adapter adapter = plain.adapters.get(path);
            assertGradient(path + ".lora_A", loss, adapter.a, TestAdapters.floats(entry.aGrad()));
            assertGradient(path + ".lora_B", loss, adapter.b, TestAdapters.floats(entry.bGrad()));
          });
    }
  }

  @ParameterizedTest
  @MethodSource("configs")
  void fullGradientsMatchFiniteDifferences(String name) throws IOException {
    ModelConfig config = TinyConfigs.all().get(name);
    try (TestModel test = new TestModel(config)) {
      List<int[]> documents = test.documents(LENGTHS);
      PlainLlama plain = test.plain();
      FloatArray values = test.context.floats(TrainableTensor.arenaFloats(config));
      FloatArray gradients = test.context.floats(TrainableTensor.arenaFloats(config));
      test.model.train(values, gradients);
      LlamaPass pass = LlamaPass.create(test.model, PassOptions.training(40, Checkpointing.NONE));
      Batch batch = test.batch(documents, 40);
      pass.forwardLoss(batch, DIVISOR);
      pass.backward(batch);
      DoubleSupplier loss = () -> plain.loss(documents, TestModel.PROMPT_TOKENS) / DIVISOR;
      for (TrainableTensor trainable : TrainableTensor.of(config)) {
        ModelTensor tensor = trainable.tensor();
        FloatArray gradient = gradients.slice(trainable.offset(), tensor.elements());
        double[] parameter = plain.tensors.get(tensor.name());
        assertGradient(tensor.name(), loss, parameter, TestAdapters.floats(gradient));
      }
      pass.close();
    }
  }

  @ParameterizedTest
  @MethodSource("configs")
  void backwardStopsBelowTheLowestAdapterWithTheSameGradient(String name) throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.all().get(name))) {
      List<int[]> documents = test.documents(LENGTHS);
      for (String path : test.model.projectionPaths()) {
        PlainLlama plain = test.plain();
        TestAdapters adapters = new TestAdapters(test.model, List.of(path), 3);
        adapters.attach(plain);
        gradients(test, documents, adapters, Checkpointing.LAYER);
        assertGradient(
            path + ".lora_A",
            () -> plain.loss(documents, TestModel.PROMPT_TOKENS) / DIVISOR,
            plain.adapters.get(path).a,
            TestAdapters.floats(adapters.entries.get(path).aGrad()));
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DataType.class,
      names = {"F32", "BF16"})
  void checkpointingLevelsGiveTheSameGradientsBitForBit(DataType type) throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.all().get("widths by layer"), type, 1)) {
      List<int[]> documents = test.documents(LENGTHS);
      TestAdapters adapters = new TestAdapters(test.model, test.model.projectionPaths(), 3);
      gradients(test, documents, adapters, Checkpointing.NONE);
      Map<String, float[]> expected = adapters.gradients();
      for (Checkpointing level : Checkpointing.values()) {
        gradients(test, documents, adapters, level);
        assertSame(expected, adapters.gradients(), level.toString());
      }
    }
  }

  @ParameterizedTest
  @EnumSource(
      value = DataType.class,
      names = {"F32", "BF16"})
  void runsAndThreadCountsAgreeBitForBit(DataType type) throws IOException {
    Map<String, float[]> expected = null;
    for (int threads : new int[] {1, 1, 2, 3}) {
      try (TestModel test = new TestModel(TinyConfigs.grouped(), type, threads)) {
        TestAdapters adapters = new TestAdapters(test.model, test.model.projectionPaths(), 3);
        gradients(test, test.documents(50, 64, 3, 40), adapters, Checkpointing.MLP);
        Map<String, float[]> gradients = adapters.gradients();
        if (expected != null) {
          assertSame(expected, gradients, threads + " threads");
        }
        expected = gradients;
      }
    }
  }

  @Test
  void packedDocumentsEqualSeparateOnes() throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.grouped())) {
      List<int[]> documents = test.documents(LENGTHS);
      TestAdapters adapters = new TestAdapters(test.model, test.model.projectionPaths(), 3);
      double packed = gradients(test, documents, adapters, Checkpointing.NONE);
      Map<String, float[]> together = adapters.gradients();
      adapters.clearGradients();
      LlamaPass pass = trainingPass(test, adapters, Checkpointing.NONE);
      double separate = 0;
      for (int[] document : documents) {
        Batch batch = test.batch(List.of(document), 40);
        separate += pass.forwardLoss(batch, DIVISOR);
        pass.backward(batch);
      }
      assertEquals(packed, separate, 1e-5 * packed);
      adapters.gradients().forEach((name, values) -> assertClose(name, together.get(name), values));
      pass.close();
    }
  }

  @Test
  void tokenLossesAddUpToTheLoss() throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.grouped())) {
      Batch batch = test.batch(test.documents(LENGTHS), 40);
      LlamaPass pass = LlamaPass.create(test.model, PassOptions.evaluation(40));
      FloatBuffer losses =
          ByteBuffer.allocateDirect(40 * Float.BYTES)
              .order(ByteOrder.nativeOrder())
              .asFloatBuffer();
      double loss = pass.loss(batch, losses);
      double sum = 0;
      for (int t = 0; t < batch.tokens(); t++) {
        sum += losses.get(t);
        assertEquals(batch.labels().get(t) < 0, losses.get(t) == 0, "token " + t);
      }
      assertEquals(loss, sum, 1e-5 * loss);
      pass.close();
    }
  }

  @Test
  void dropoutIsTheSameAtEveryCheckpointingLevelAndOffInEvaluation() throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.grouped())) {
      TestAdapters adapters = new TestAdapters(test.model, test.model.projectionPaths(), 3);
      Batch batch = test.batch(test.documents(LENGTHS), 40);
      Map<String, float[]> expected = null;
      for (Checkpointing level : Checkpointing.values()) {
        LlamaPass pass = trainingPass(test, adapters, level);
        adapters.clearGradients();
        double plain = pass.loss(batch, null);
        pass.setDropout(0.5f, 42, 3);
        double dropped = pass.forwardLoss(batch, DIVISOR);
        pass.backward(batch);
        assertTrue(Math.abs(plain - dropped) > 1e-3, "dropout must change the loss");
        assertEquals(plain, pass.loss(batch, null), "evaluation must not see it");
        if (expected != null) {
          assertSame(expected, adapters.gradients(), level.toString());
        }
        expected = adapters.gradients();
        pass.close();
      }
    }
  }

  @Test
  void aStepAllocatesNoJavaMemory() throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.grouped())) {
      TestAdapters adapters = new TestAdapters(test.model, test.model.projectionPaths(), 3);
      List<int[]> documents = test.documents(LENGTHS);
      Batch batch = test.batch(documents, 40);
      DocumentPacker packer = new DocumentPacker(batch);
      LlamaPass pass = trainingPass(test, adapters, Checkpointing.LAYER);
      int[] document = documents.get(2);
      var threads = (com.sun.management.ThreadMXBean) ManagementFactory.getThreadMXBean();
      long id = Thread.currentThread().getId();
      int allocating = 0;
      for (int step = 0; step < 150; step++) {
        long before = threads.getThreadAllocatedBytes(id);
        packer.clear();
        packer.add(document, 2, 0);
        packer.add(document, 2, document.length);
        packer.fill();
        pass.setDropout(0.1f, 42, step);
        pass.forwardLoss(batch, DIVISOR);
        pass.backward(batch);
        long allocated = threads.getThreadAllocatedBytes(id) - before;
        allocating += step >= 50 && allocated > 0 ? 1 : 0;
      }
      // What the code allocates shows in every step. A compiler that swaps code under a running
      // thread allocates there too, now and then: with -Xint it is 0 from the second step on.
      assertTrue(allocating <= 5, allocating + " of the last 100 steps allocated");
      pass.close();
    }
  }

  @ParameterizedTest
  @MethodSource("configs")
  void estimatedBytesAreThoseAllocated(String name) throws IOException {
    ModelConfig config = TinyConfigs.all().get(name);
    for (DataType type : List.of(DataType.F32, DataType.BF16)) {
      try (TestModel test = new TestModel(config, type, 1)) {
        assertEquals(LlamaModel.bytes(config, type), test.context.bytes(), "model, " + type);
        Map<String, Integer> ranks =
            new TestAdapters(test.model, test.model.projectionPaths(), 3).ranks();
        for (Checkpointing level : Checkpointing.values()) {
          PassOptions options = PassOptions.training(100, level).withRanks(ranks);
          assertBytes(test, options, type);
        }
        assertBytes(test, PassOptions.evaluation(70), type);
      }
    }
  }

  private static void assertBytes(TestModel test, PassOptions options, DataType type) {
    long before = test.context.bytes();
    LlamaPass pass = LlamaPass.create(test.model, options);
    long expected = LlamaPass.bytes(test.model.config(), type, options);
    assertEquals(expected, test.context.bytes() - before, options.toString());
    pass.close();
    assertEquals(before, test.context.bytes(), "after close");
  }

  @Test
  void aClosedModelLeavesNothingBehind() throws IOException {
    try (RoraContext context = RoraContext.open("cpu", 1)) {
      MemorySource source = new MemorySource(TinyConfigs.all().get("biases, tied"), 7);
      LlamaModel model = LlamaModel.load(context, source, DataType.BF16);
      model.close();
      model.close();
      assertEquals(0, context.bytes());
    }
  }

  @Test
  void aModelKeepsItsValuesWhenTrainingEnds() throws IOException {
    ModelConfig config = TinyConfigs.all().get("biases, tied");
    try (TestModel test = new TestModel(config)) {
      Batch batch = test.batch(test.documents(LENGTHS), 40);
      LlamaPass pass = LlamaPass.create(test.model, PassOptions.evaluation(40));
      final double before = pass.loss(batch, null);
      FloatArray values = test.context.floats(TrainableTensor.arenaFloats(config));
      test.model.train(values, test.context.floats(values.length()));
      float[] changed = TestAdapters.floats(values);
      for (int i = 0; i < changed.length; i++) {
        changed[i] *= 1.01f;
      }
      values.write(0, changed, 0, changed.length);
      test.model.refresh();
      pass.close();
      pass = LlamaPass.create(test.model, PassOptions.evaluation(40));
      double trained = pass.loss(batch, null);
      assertTrue(Math.abs(trained - before) > 1e-3, "the new values must matter");
      pass.close();
      test.model.freeze();
      pass = LlamaPass.create(test.model, PassOptions.evaluation(40));
      assertEquals(trained, pass.loss(batch, null));
      pass.close();
    }
  }

  @Test
  void misuseIsRefusedWithAReason() throws IOException {
    try (TestModel test = new TestModel(TinyConfigs.grouped())) {
      String path = "model.layers.0.self_attn.q_proj";
      LowRank adapter = new TestAdapters(test.model, List.of(path), 3).entries.get(path).lowRank();
      LlamaPass pass = LlamaPass.create(test.model, PassOptions.training(8, Checkpointing.NONE));
      assertMessage("no such projection", () -> pass.attach("model.layers.9.mlp.up_proj", adapter));
      assertMessage("rank 3 does not fit", () -> pass.attach(path, adapter));
      Batch batch = test.batch(test.documents(4), 8);
      assertMessage("nothing to train", () -> pass.forwardLoss(batch, 1));
      pass.close();
    }
  }

  private static void assertMessage(String part, Runnable call) {
    RuntimeException refused = assertThrows(RuntimeException.class, call::run);
    assertTrue(refused.getMessage().contains(part), refused.getMessage());
  }

  @Test
  void aModelThatLacksATensorIsRefusedByName() {
    MemorySource source = new MemorySource(TinyConfigs.grouped(), 7);
    source.tensors().remove("model.layers.1.mlp.up_proj.weight");
    assertLoadRefused(source, "model.layers.1.mlp.up_proj.weight is missing");
    MemorySource other = new MemorySource(TinyConfigs.grouped(), 7);
    other.tensors().put("model.norm.weight", new float[5]);
    assertLoadRefused(other, "model.norm.weight has shape [5]");
  }

  private static void assertLoadRefused(MemorySource source, String part) {
    try (var context = RoraContext.open("cpu", 1)) {
      Exception refused =
          assertThrows(
              IllegalArgumentException.class, () -> LlamaModel.load(context, source, DataType.F32));
      assertTrue(refused.getMessage().contains(part), refused.getMessage());
      assertEquals(0, context.bytes(), "nothing is left behind");
    }
  }

  /** One step's gradients into the adapters; returns the loss. */
  private static double gradients(
      TestModel test, List<int[]> documents, TestAdapters adapters, Checkpointing level) {
    adapters.clearGradients();
    LlamaPass pass = trainingPass(test, adapters, level);
    int tokens = documents.stream().mapToInt(document -> document.length).sum();
    Batch batch = test.batch(documents, tokens + 3);
    double loss = pass.forwardLoss(batch, DIVISOR);
    pass.backward(batch);
    pass.close();
    return loss;
  }

  private static LlamaPass trainingPass(
      TestModel test, TestAdapters adapters, Checkpointing level) {
    PassOptions options = PassOptions.training(200, level).withRanks(adapters.ranks());
    LlamaPass pass = LlamaPass.create(test.model, options);
    adapters.attach(pass);
    return pass;
  }

  /** Central differences at a spread of elements. */
  private static void assertGradient(
      String name, DoubleSupplier loss, double[] parameter, float[] gradient) {
    double largest = 0;
    for (float value : gradient) {
      largest = Math.max(largest, Math.abs(value));
    }
    double step = 1e-4;
    for (int i = 0; i < parameter.length; i += Math.max(1, parameter.length / 5)) {
      double value = parameter[i];
      parameter[i] = value + step;
      double above = loss.getAsDouble();
      parameter[i] = value - step;
      double below = loss.getAsDouble();
      parameter[i] = value;
      double expected = (above - below) / (2 * step);
      assertEquals(
          expected, gradient[i], 2e-4 * largest + 2e-6, name + "[" + i + "], largest " + largest);
    }
  }

  private static void assertClose(String name, float[] expected, float[] actual) {
    double largest = 0;
    for (float value : expected) {
      largest = Math.max(largest, Math.abs(value));
    }
    for (int i = 0; i < expected.length; i++) {
      assertEquals(expected[i], actual[i], 1e-5 * largest + 1e-7, name + "[" + i + "]");
    }
  }

  private static void assertSame(
      Map<String, float[]> expected, Map<String, float[]> actual, String message) {
    expected.forEach(
        (name, values) -> assertArrayEquals(values, actual.get(name), message + ": " + name));
  }
}
