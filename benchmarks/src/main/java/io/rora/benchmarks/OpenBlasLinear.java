package io.rora.benchmarks;

import static org.bytedeco.openblas.global.openblas_nolapack.CblasNoTrans;
import static org.bytedeco.openblas.global.openblas_nolapack.CblasRowMajor;
import static org.bytedeco.openblas.global.openblas_nolapack.CblasTrans;
import static org.bytedeco.openblas.global.openblas_nolapack.cblas_sgemm;

import io.rora.kernels.DataType;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Loader;
import org.bytedeco.openblas.global.openblas_nolapack;

/**
 * Sgemm, the low-rank product added to the dense one's output by beta = 1. Its bf16 product is not
 * part of the library's binding for the JVM.
 */
final class OpenBlasLinear implements Side {
  private final LinearOperands o;
  private final boolean backward;
  private final FloatPointer h;
  private final FloatPointer g;
  private final FloatPointer y;
  private final FloatPointer dx;
  private final FloatPointer dA;
  private final FloatPointer dB;

  OpenBlasLinear(LinearOperands operands, boolean backward) {
    if (operands.type != DataType.F32) {
      throw new IllegalArgumentException(
          "impl=" + Peers.OPENBLAS + ", dtype=" + operands.type + ": OpenBLAS is measured in F32");
    }
    Loader.load(openblas_nolapack.class);
    openblas_nolapack.blas_set_num_threads(Peers.threads());
    o = operands;
    this.backward = backward;
    h = new FloatPointer((long) o.tokens * o.rank);
    g = new FloatPointer((long) o.tokens * o.rank);
    y = new FloatPointer((long) o.tokens * o.out);
    dx = new FloatPointer((long) o.tokens * o.in);
    dA = new FloatPointer((long) o.rank * o.in);
    dB = new FloatPointer((long) o.out * o.rank);
    if (o.rank > 0) {
      shrink();
    }
  }

  @Override
  public void run() {
    if (backward) {
      backward();
    } else {
      forward();
    }
  }

  private void shrink() {
    timesTransposed(o.tokens, o.rank, o.in, (float) o.gamma, o.x, o.a, 0, h);
  }

  private void forward() {
    timesTransposed(o.tokens, o.out, o.in, 1, o.x, o.w, 0, y);
    if (o.rank > 0) {
      shrink();
      timesTransposed(o.tokens, o.out, o.rank, 1, h, o.b, 1, y);
    }
  }

  private void backward() {
    times(o.tokens, o.in, o.out, 1, o.dy, o.w, 0, dx);
    if (o.rank > 0) {
      times(o.tokens, o.rank, o.out, (float) o.gamma, o.dy, o.b, 0, g);
      times(o.tokens, o.in, o.rank, 1, g, o.a, 1, dx);
      transposedTimes(o.rank, o.in, o.tokens, g, o.x, dA);
      transposedTimes(o.out, o.rank, o.tokens, o.dy, h, dB);
    }
  }

  /** {@code c [m, n] = alpha a [m, k] b [k, n] + beta c}. */
  private static void times(
      int m,
      int n,
      int k,
      float alpha,
      FloatPointer a,
      FloatPointer b,
      float beta,
      FloatPointer c) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, m, n, k, alpha, a, k, b, n, beta, c, n);
  }

  /** {@code c [m, n] = alpha a [m, k] b [n, k]^T + beta c}. */
  private static void timesTransposed(
      int m,
      int n,
      int k,
      float alpha,
      FloatPointer a,
      FloatPointer b,
      float beta,
      FloatPointer c) {
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, m, n, k, alpha, a, k, b, k, beta, c, n);
  }

  /** {@code c [m, n] = a [k, m]^T b [k, n]}. */
  private static void transposedTimes(
      int m, int n, int k, FloatPointer a, FloatPointer b, FloatPointer c) {
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, m, n, k, 1, a, m, b, n, 0, c, n);
  }

  @Override
  public Map<String, float[]> results() {
    run();
    Map<String, float[]> results = new LinkedHashMap<>();
    if (!backward) {
      results.put("y", RoraLinear.toArray(y, (long) o.comparedRows() * o.out));
      return results;
    }
    results.put("dx", RoraLinear.toArray(dx, (long) o.comparedRows() * o.in));
    if (o.rank > 0) {
      results.put("dA", RoraLinear.toArray(dA, (long) o.rank * o.in));
      results.put("dB", RoraLinear.toArray(dB, (long) o.out * o.rank));
    }
    return results;
  }

  @Override
  public void close() {
    for (FloatPointer pointer : new FloatPointer[] {h, g, y, dx, dA, dB}) {
      pointer.deallocate();
    }
  }
}
