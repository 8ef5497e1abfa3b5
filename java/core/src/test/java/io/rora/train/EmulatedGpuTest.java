package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * Whole runs on the CUDA kernels, which native/tests/simt emulates: every operator of a step, from
 * the embedding to AdamW.
 */
class EmulatedGpuTest {
  private static final String FOLDER = "rora.simt.folder";

  @TempDir Path temporary;

  @BeforeAll
  static void findTheEmulation() {
    Path folder = Path.of(System.getProperty(FOLDER, "."));
    assumeTrue(
        Files.exists(folder.resolve("librora_simt.so")),
        () -> "skipped: there is no librora_simt.so in " + folder + " (-D" + FOLDER + "=DIR)");
    RoraContext.backendFolder(folder);
  }

  @ParameterizedTest
  @CsvSource({"rora-llama3-tied, F32, 1e-4", "dora, F32, 1e-4", "rora-bf16, BF16, 2e-2"})
  void everyLossIsTheCpus(String name, DataType type, double bound) throws Exception {
    List<StepMetrics> cpu = train(name, type, "cpu", "cpu");
    List<StepMetrics> gpu = train(name, type, "simt", "simt");
    assertEquals(10, gpu.size());
    for (int i = 0; i < gpu.size(); i++) {
      String at = "step " + (i + 1);
      assertEquals(cpu.get(i).loss(), gpu.get(i).loss(), bound, at + " loss");
      double norm = cpu.get(i).gradNorm();
      assertEquals(norm, gpu.get(i).gradNorm(), (type == DataType.F32 ? 1e-3 : 0.15) * norm, at);
      assertEquals(cpu.get(i).tokens(), gpu.get(i).tokens(), at + " tokens");
    }
    assertTrue(gpu.get(9).loss() < gpu.get(0).loss(), "the loss falls");
  }

  @Test
  void twoRunsGiveTheSameBits() throws Exception {
    List<StepMetrics> first = train("dora", DataType.F32, "simt", "first");
    List<StepMetrics> second = train("dora", DataType.F32, "simt", "second");
    assertEquals(losses(first), losses(second));
    assertArrayEquals(
        Runs.tensors(temporary.resolve("first")), Runs.tensors(temporary.resolve("second")));
  }

  private List<StepMetrics> train(String name, DataType type, String device, String out)
      throws Exception {
    return GoldenParityTest.train(
        Golden.load(name)
            .options(temporary.resolve(out))
            .device(device)
            .dtype(type)
            .maxSteps(10)
            .build());
  }

  private static List<Double> losses(List<StepMetrics> steps) {
    return steps.stream().map(StepMetrics::loss).toList();
  }
}
