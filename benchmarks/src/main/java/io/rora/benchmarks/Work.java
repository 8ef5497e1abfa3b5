package io.rora.benchmarks;

import io.rora.kernels.DataType;

/**
 * What one call of an operator has to do, whoever computes it.
 *
 * @param flop multiplications and additions, the adapter's included
 * @param baseFlop those of the dense product alone, {@code 2 tokens in out}; 0 for other operators
 * @param bytes operands read and results written, each once
 */
record Work(double flop, double baseFlop, double bytes) {
  private static final Work UNKNOWN = new Work(0, 0, 0);

  /** The work of a measured call; of operators without a formula all is 0. */
  static Work of(Measurement of) {
    double m = of.number("tokens");
    double element =
        of.parameter("dtype").isEmpty() ? 4 : DataType.valueOf(of.parameter("dtype")).bytes();
    if (of.operator().startsWith("Linear")) {
      return linear(of, m, element);
    }
    if (of.operator().equals("Adamw")) {
      double n = of.number("parameters");
      return new Work(14 * n, 0, 8 * Float.BYTES * n); // four arrays, read and written
    }
    if (of.parameter("model").isEmpty()) {
      return UNKNOWN;
    }
    return layer(of.operator(), ModelShape.valueOf(of.parameter("model")), m, element);
  }

  private static Work linear(Measurement of, double m, double element) {
    String[] shape = of.parameter("shape").split("x", -1);
    double out = Double.parseDouble(shape[0]);
    double in = Double.parseDouble(shape[1]);
    double rank = of.number("rank");
    boolean backward = of.operator().equals("LinearBackward");
    double base = 2 * m * in * out;
    double adapter = 2 * m * rank * (in + out) * (backward ? 2 : 1);
    double activations = m * (backward ? 2 * in + out : in + out);
    double matrices = rank * (in + out) * Float.BYTES * (backward ? 2 : 1);
    return new Work(base + adapter, base, (activations + in * out) * element + matrices);
  }

  private static Work layer(String operator, ModelShape model, double m, double element) {
    double hidden = m * model.hidden;
    double inner = m * model.intermediate;
    double pairs = m * (m + 1) / 2 * model.heads * model.headDim;
    double qkvy = m * model.headDim * 2.0 * (model.heads + model.kvHeads) * element;
    double table = (double) model.vocabulary * model.hidden;
    return switch (operator) {
      case "RmsNormForward" -> new Work(4 * hidden, 0, 2 * hidden * element);
      case "RmsNormBackward" -> new Work(8 * hidden, 0, 4 * hidden * element);
      case "Rope" -> {
        double rotated = m * model.headDim * (model.heads + model.kvHeads);
        yield new Work(3 * rotated, 0, 2 * rotated * element);
      }
      case "SwigluForward" -> new Work(5 * inner, 0, 3 * inner * element);
      case "SwigluBackward" -> new Work(10 * inner, 0, 5 * inner * element);
      case "AttentionForward" -> new Work(4 * pairs, 0, qkvy);
      case "AttentionBackward" -> new Work(10 * pairs, 0, 2 * qkvy);
      case "CrossEntropy" -> new Work(4 * m * table, 0, (table + 2 * hidden) * element);
      default -> UNKNOWN;
    };
  }
}
