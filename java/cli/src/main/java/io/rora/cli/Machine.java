package io.rora.cli;

import io.rora.kernels.DataType;
import io.rora.kernels.RoraContext;
import java.util.regex.Pattern;

/**
 * What a command computes on.
 *
 * @param dtype type of weights and activations
 * @param device {@code cpu}, {@code cuda[:i]}, or {@code simt} where tests have it
 * @param threads 0 for all cores
 * @param seed of everything random
 */
record Machine(DataType dtype, String device, int threads, long seed) {
  private static final Pattern DEVICE = Pattern.compile("cpu|cuda(:\\d{1,3})?|simt");

  /** What {@code --dtype}, {@code --device}, {@code --threads} and {@code --seed} say. */
  static Machine of(Arguments arguments) {
    String device = arguments.text("device").orElse("cpu");
    if (!DEVICE.matcher(device).matches()) {
      throw new UsageException("--device=" + device + ": must be cpu, cuda or cuda:i");
    }
    return new Machine(
        dtype(arguments.choice("dtype", "bf16", "fp32")),
        device,
        threads(arguments),
        arguments.integer("seed", 42L, Long.MIN_VALUE, Long.MAX_VALUE));
  }

  /** What {@code --threads} says; 0 for all cores. */
  static int threads(Arguments arguments) {
    return (int) arguments.integer("threads", 0L, 0, RoraContext.MAX_THREADS);
  }

  static DataType dtype(String name) {
    return name.equals("fp32") ? DataType.F32 : DataType.BF16;
  }

  /** Opens the device; the caller closes it. */
  RoraContext open() {
    return RoraContext.open(device, threads);
  }
}
