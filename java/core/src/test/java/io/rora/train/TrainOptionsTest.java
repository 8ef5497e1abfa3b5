package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.adapter.AdapterInit;
import io.rora.kernels.DataType;
import io.rora.kernels.ScalingRule;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.function.UnaryOperator;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class TrainOptionsTest {
  private static TrainOptions.Builder builder() {
    return TrainOptions.builder().model(Path.of("m")).data(Path.of("d")).out(Path.of("o"));
  }

  static Stream<Arguments> wrong() {
    return Stream.of(
        wrong("--batch-size", b -> b.batchSize(0)),
        wrong("--micro-batch-size", b -> b.batchSize(2).microBatchSize(3)),
        wrong("--lr", b -> b.learningRate(0)),
        wrong("--lr", b -> b.learningRate(Double.NaN)),
        wrong("--epochs", b -> b.epochs(-1)),
        wrong("--epochs", b -> b.epochs(1).maxSteps(10)),
        wrong("--max-steps", b -> b.maxSteps(0)),
        wrong("--dropout", b -> b.dropout(1)),
        wrong("--warmup-steps", b -> b.warmupSteps(-1)),
        wrong("--weight-decay", b -> b.weightDecay(-0.1)),
        wrong("--max-grad-norm", b -> b.maxGradNorm(-1)),
        wrong("--lora-plus-ratio", b -> b.loraPlusRatio(0)),
        wrong("--eval-steps", b -> b.evalSteps(5)),
        wrong("--dtype", b -> b.dtype(DataType.F16)),
        wrong("--scaling", b -> b.scaling(ScalingRule.RORA)),
        wrong("--scaling", b -> b.method(Method.LORA).scaling(ScalingRule.LORA)),
        wrong("--init", b -> b.init(AdapterInit.PISSA).initAdapter(Path.of("a"))),
        wrong("--rank", b -> b.method(Method.FULL).rank(8)),
        wrong("--alpha", b -> b.method(Method.FULL).alpha(8)),
        wrong("--target-modules", b -> b.method(Method.FULL).targetModules("q_proj")),
        wrong("--rank-pattern", b -> b.method(Method.FULL).rankPattern(Map.of("q_proj", 2))),
        wrong("--dropout", b -> b.method(Method.FULL).dropout(0.1)),
        wrong("--lora-plus-ratio", b -> b.method(Method.FULL).loraPlusRatio(2)),
        wrong("--init-adapter", b -> b.method(Method.FULL).initAdapter(Path.of("a"))),
        wrong("rank", b -> b.rank(0)),
        wrong("alpha", b -> b.alpha(0)),
        wrong("pattern", b -> b.rankPattern(Map.of("q_proj(", 2))),
        wrong("--target-modules", b -> b.targetModules(List.of())),
        wrong("--model", b -> b.model(null)),
        wrong("--out", b -> b.out(null)),
        wrong("--data", b -> b.data(List.of())));
  }

  private static Arguments wrong(String name, UnaryOperator<TrainOptions.Builder> change) {
    return Arguments.of(name, change);
  }

  @ParameterizedTest
  @MethodSource("wrong")
  void wrongOrContradictingOptionsAreRefusedByName(
      String name, UnaryOperator<TrainOptions.Builder> change) {
    IllegalArgumentException e =
        assertThrows(IllegalArgumentException.class, () -> change.apply(builder()).build());
    assertTrue(e.getMessage().contains(name), e.getMessage());
  }

  @Test
  void defaultsAreTheDesigns() {
    TrainOptions options = builder().build();
    assertEquals(3e-4, options.learningRate());
    assertEquals(Schedule.LINEAR, options.schedule());
    assertEquals(16, options.batchSize());
    assertEquals(3, options.epochs());
    assertEquals(256, options.cutoffLen());
    assertEquals(1, options.maxGradNorm());
    assertEquals(DataType.BF16, options.dtype());
    assertEquals(42, options.seed());
    assertEquals(100, options.saveSteps());
    assertTrue(options.shuffle() && options.packing());
  }

  @Test
  void doraTakesEitherScaling() {
    for (ScalingRule rule : ScalingRule.values()) {
      assertEquals(
          rule,
          builder().method(Method.DORA).scaling(rule).build().adapter().scaling().orElseThrow());
    }
  }
}
