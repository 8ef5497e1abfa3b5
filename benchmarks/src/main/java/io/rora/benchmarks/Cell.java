package io.rora.benchmarks;

import io.rora.kernels.DataType;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * One operator at one size, and who computes it.
 *
 * @param benchmark a class of JMH benchmarks
 * @param parameters by name, those of JMH but the implementation
 * @param impls implementations that alternate, ours first; empty for what has none
 */
record Cell(Class<?> benchmark, Map<String, String> parameters, List<String> impls) {
  private static final List<String> TYPES = List.of("F32", "BF16");
  private static final int DOCUMENT = 128;

  private static Cell of(Class<?> benchmark, List<String> impls, Object... parameters) {
    Map<String, String> map = new LinkedHashMap<>();
    for (int i = 0; i < parameters.length; i += 2) {
      map.put((String) parameters[i], parameters[i + 1].toString());
    }
    return new Cell(benchmark, map, impls);
  }

  /** The cell with none but these peers. */
  Cell with(List<String> peers) {
    List<String> left = new ArrayList<>(impls);
    left.removeIf(impl -> !impl.equals(Peers.RORA) && !peers.contains(impl));
    return new Cell(benchmark, parameters, left);
  }

  /** Whether it measures the machine, which every comparison needs. */
  boolean isCeiling() {
    return impls.isEmpty();
  }

  /** A line for people. */
  String describe() {
    return benchmark.getSimpleName()
        + (parameters.isEmpty() ? "" : " " + String.join(" ", parameters.values()));
  }

  /** The set that ends within ten minutes on two slow cores, the most important first. */
  static List<Cell> standard() {
    List<Cell> cells = new ArrayList<>(machine());
    for (String type : TYPES) { // the bars: the dense product, and the slab of rank 64
      cells.add(linear(LinearForward.class, "2048x2048", 1024, 0, type));
      cells.add(linear(LinearForward.class, "2048x2048", 1024, 64, type));
      cells.add(linear(LinearBackward.class, "2048x2048", 1024, 64, type));
    }
    cells.addAll(growth(List.of(1, 2, 4, 8), 2, ModelShape.SMOLLM2_135M));
    for (String shape : List.of("576x576", "1536x576", "576x1536", "4096x4096")) {
      int tokens = shape.equals("4096x4096") ? 512 : 1024;
      for (String type : TYPES) {
        cells.add(linear(LinearForward.class, shape, tokens, 64, type));
        cells.add(linear(LinearBackward.class, shape, tokens, 64, type));
      }
    }
    cells.addAll(layers(List.of(ModelShape.SMOLLM2_135M), List.of(1024), List.of("BF16")));
    for (String type : TYPES) { // overhead against rank, speed against tokens
      for (int rank : List.of(8, 256)) {
        cells.add(linear(LinearForward.class, "2048x2048", 1024, rank, type));
      }
      for (int tokens : List.of(128, 512, 2048)) {
        cells.add(linear(LinearForward.class, "2048x2048", tokens, 64, type));
      }
    }
    return cells;
  }

  /** Every shape of LLaMA-7B, LLaMA3-8B and SmolLM2: hours. */
  static List<Cell> full() {
    List<Cell> cells = new ArrayList<>(machine());
    for (String type : TYPES) {
      for (String shape :
          List.of(
              "576x576",
              "192x576",
              "1536x576",
              "576x1536",
              "2048x2048",
              "4096x4096",
              "1024x4096",
              "11008x4096",
              "4096x11008",
              "14336x4096",
              "4096x14336")) {
        for (int tokens : List.of(128, 512, 1024, 2048, 4096)) {
          for (int rank : List.of(0, 8, 64, 256)) {
            cells.add(linear(LinearForward.class, shape, tokens, rank, type));
            cells.add(linear(LinearBackward.class, shape, tokens, rank, type));
          }
        }
      }
    }
    cells.addAll(
        layers(
            List.of(ModelShape.SMOLLM2_135M, ModelShape.LLAMA_7B, ModelShape.LLAMA3_8B),
            List.of(128, 512, 1024, 2048, 4096),
            TYPES));
    cells.addAll(growth(List.of(1, 2, 4, 8, 16, 32), 8, ModelShape.LLAMA32_1B));
    return cells;
  }

  private static List<Cell> machine() {
    return List.of(
        of(Peak.class, List.of(), "dtype", "F32"),
        of(Peak.class, List.of(), "dtype", "BF16"),
        of(Bandwidth.class, List.of()));
  }

  private static Cell linear(Class<?> operator, String shape, int tokens, int rank, String type) {
    List<String> impls = new ArrayList<>(List.of(Peers.RORA, Peers.LIBTORCH, Peers.ONEDNN));
    if (type.equals("F32")) {
      impls.add(Peers.OPENBLAS);
    }
    impls.add(Peers.ROW_MAJOR);
    return of(operator, impls, "shape", shape, "tokens", tokens, "rank", rank, "dtype", type);
  }

  private static List<Cell> layers(
      List<ModelShape> models, List<Integer> tokens, List<String> types) {
    List<String> both = List.of(Peers.RORA, Peers.LIBTORCH);
    List<Cell> cells = new ArrayList<>();
    for (ModelShape model : models) {
      for (int m : tokens) {
        for (String type : types) {
          for (Class<?> operator :
              List.of(
                  RmsNormForward.class,
                  RmsNormBackward.class,
                  SwigluForward.class,
                  SwigluBackward.class,
                  AttentionForward.class,
                  AttentionBackward.class,
                  CrossEntropy.class,
                  Embedding.class,
                  Rope.class)) {
            List<String> impls = operator == Rope.class ? List.of(Peers.RORA) : both;
            cells.add(of(operator, impls, "model", model, "tokens", m, "dtype", type));
          }
        }
      }
    }
    cells.add(of(Adamw.class, both, "parameters", 10_000_000, "dtype", "F32", "tokens", 1));
    return cells;
  }

  /** Steps of SmolLM2-135M over documents, then of ever larger models up to {@code largest}. */
  private static List<Cell> growth(
      List<Integer> documents, int documentsOfModels, ModelShape largest) {
    List<Cell> cells = new ArrayList<>();
    for (int count : documents) {
      cells.add(step(ModelShape.SMOLLM2_135M, count));
    }
    for (ModelShape model : ModelShape.values()) {
      boolean there = model == ModelShape.SMOLLM2_135M && documents.contains(documentsOfModels);
      if (model.compareTo(largest) <= 0 && !there) {
        cells.add(step(model, documentsOfModels));
      }
    }
    return cells;
  }

  /** A step; a model that is too large for the memory is cut. */
  private static Cell step(ModelShape model, int documents) {
    int tokens = documents * DOCUMENT;
    int layers = TrainingStep.layersWithin(model, DataType.BF16, tokens, 32, 0.6 * Machine.bytes());
    return of(
        TrainingStep.class,
        List.of(Peers.RORA),
        "model",
        model,
        "documents",
        documents,
        "tokens",
        tokens,
        "rank",
        32,
        "dtype",
        "BF16",
        "layers",
        layers == model.layers ? 0 : layers);
  }
}
