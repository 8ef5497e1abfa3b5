package io.rora.benchmarks;

import java.util.ArrayList;
import java.util.List;
import org.bytedeco.dnnl.global.dnnl;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.openblas.global.openblas_nolapack;
import org.bytedeco.pytorch.global.torch;

/** The names of the implementations, and which of them can be loaded here. */
final class Peers {
  /** Ours, as layers of a model call it. */
  static final String RORA = "rora";

  /** Ours, row-major matrices of floats in and out: what the converting boundary costs. */
  static final String ROW_MAJOR = "rora-rowmajor";

  /** PyTorch's C++ library. */
  static final String LIBTORCH = "libtorch";

  /** OneDNN's matmul primitives. */
  static final String ONEDNN = "onednn";

  /** OpenBLAS's sgemm; float only. */
  static final String OPENBLAS = "openblas";

  /** All that stand beside ours. */
  static final List<String> ALL = List.of(LIBTORCH, ONEDNN, OPENBLAS, ROW_MAJOR);

  private Peers() {}

  /** Threads for every library: one for each processor that this process may use. */
  static int threads() {
    return Runtime.getRuntime().availableProcessors();
  }

  /** The error of an operator that no such implementation computes. */
  static IllegalArgumentException unknown(String name, String... known) {
    return new IllegalArgumentException(
        "impl=" + name + ": this operator has " + String.join(", ", known));
  }

  /** The libraries that load on this machine; each that does not is named to {@code missing}. */
  static List<String> loadable(List<String> missing) {
    List<String> found = new ArrayList<>();
    probe(LIBTORCH, torch.class, found, missing);
    probe(ONEDNN, dnnl.class, found, missing);
    probe(OPENBLAS, openblas_nolapack.class, found, missing);
    return found;
  }

  private static void probe(
      String name, Class<?> library, List<String> found, List<String> missing) {
    try {
      Loader.load(library);
      found.add(name);
    } catch (LinkageError e) {
      missing.add(name + " does not load here (" + e.getMessage() + ")");
    }
  }
}
