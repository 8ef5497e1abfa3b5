package io.rora.adapter;

import io.rora.data.CounterRandom;
import io.rora.kernels.FloatArray;
import io.rora.kernels.Weight;
import java.nio.charset.StandardCharsets;
import java.util.Comparator;
import java.util.stream.IntStream;
import org.ejml.data.DMatrixRMaj;
import org.ejml.dense.row.CommonOps_DDRM;
import org.ejml.dense.row.factory.DecompositionFactory_DDRM;
import org.ejml.interfaces.decomposition.EigenDecomposition_F64;

/**
 * Gives a new {@link AdapterSet} its starting values. A module's depend on the seed, its path and
 * its shape alone, not on the other modules.
 */
public final class AdapterInitializer {
  private final AdapterSet set;
  private final long seed;

  private AdapterInitializer(AdapterSet set, long seed) {
    this.set = set;
    this.seed = seed;
  }

  /**
   * Initialises a set that {@link AdapterSet#create} made.
   *
   * @param init for PISSA the set must be of the {@link AdapterConfig#doubled} configuration
   * @throws IllegalArgumentException if PiSSA is asked for a rank above that of the weight
   */
  public static void initialise(
      AdapterSet set, AdapterInit init, long seed, InitListener listener) {
    AdapterInitializer initializer = new AdapterInitializer(set, seed);
    int done = 0;
    for (Adapter adapter : set.adapters()) {
      switch (init) {
        case KAIMING -> initializer.kaiming(adapter);
        case GAUSSIAN -> initializer.gaussian(adapter);
        case PISSA -> initializer.pissa(adapter);
      }
      listener.onModule(adapter.module().path(), ++done, set.adapters().size());
    }
    set.refresh();
  }

  /** Kaiming with a = sqrt 5, as PEFT: uniform in +-1/sqrt(in_features). */
  private void kaiming(Adapter adapter) {
    double bound = 1 / Math.sqrt(adapter.module().inFeatures());
    CounterRandom random = random(adapter);
    float[] a = new float[Math.toIntExact(adapter.loraA().length())];
    for (int i = 0; i < a.length; i++) {
      a[i] = (float) (bound * (2 * random.uniform() - 1));
    }
    write(adapter.loraA(), a);
  }

  private void gaussian(Adapter adapter) {
    double deviation = 1.0 / adapter.module().rank();
    CounterRandom random = random(adapter);
    float[] a = new float[Math.toIntExact(adapter.loraA().length())];
    for (int i = 0; i < a.length; i++) {
      a[i] = (float) (deviation * random.gaussian());
    }
    write(adapter.loraA(), a);
  }

  /**
   * With W's largest singular triples (u, s, v), B0 = u sqrt(s / gamma) and A0 = sqrt(s / gamma) v:
   * gamma B0 A0 is the best approximation of W of rank r. They come from the eigenvectors of the
   * smaller of W^T W and W W^T, which double precision affords for the largest ones.
   */
  private void pissa(Adapter adapter) {
    AdapterModule module = adapter.module();
    int rank = module.rank() / 2;
    int out = module.outFeatures();
    int in = module.inFeatures();
    if (rank > Math.min(out, in)) {
      throw new IllegalArgumentException(
          module.path()
              + " is ["
              + out
              + ", "
              + in
              + "]: PiSSA needs a rank of at most "
              + Math.min(out, in)
              + " there, not "
              + rank);
    }
    DMatrixRMaj weight = weight(module);
    Directions directions = Directions.of(weight, rank);
    float[] a = new float[2 * rank * in];
    float[] b = new float[out * 2 * rank];
    for (int k = 0; k < rank; k++) {
      double root = Math.sqrt(directions.singular[k] / module.gamma());
      for (int j = 0; j < in; j++) {
        a[k * in + j] = a[(rank + k) * in + j] = (float) (root * directions.right.get(j, k));
      }
      for (int i = 0; i < out; i++) {
        float value = (float) (root * directions.left.get(i, k));
        b[i * 2 * rank + k] = value;
        b[i * 2 * rank + rank + k] = -value;
      }
    }
    write(adapter.loraA(), a);
    write(adapter.loraB(), b);
  }

  private DMatrixRMaj weight(AdapterModule module) {
    Weight weight = set.model().weight(module.path());
    int in = module.inFeatures();
    DMatrixRMaj matrix = new DMatrixRMaj(module.outFeatures(), in);
    float[] row = new float[in];
    for (int i = 0; i < module.outFeatures(); i++) {
      weight.read(i, 1, row);
      for (int j = 0; j < in; j++) {
        matrix.set(i, j, row[j]);
      }
    }
    return matrix;
  }

  /** The largest singular values of a matrix with their directions as columns. */
  private record Directions(DMatrixRMaj left, double[] singular, DMatrixRMaj right) {
    static Directions of(DMatrixRMaj w, int rank) {
      boolean tall = w.getNumRows() >= w.getNumCols();
      int n = Math.min(w.getNumRows(), w.getNumCols());
      DMatrixRMaj gram = new DMatrixRMaj(n, n);
      if (tall) {
        CommonOps_DDRM.multTransA(w, w, gram);
      } else {
        CommonOps_DDRM.multTransB(w, w, gram);
      }
      EigenDecomposition_F64<DMatrixRMaj> eigen = DecompositionFactory_DDRM.eig(n, true, true);
      if (!eigen.decompose(gram)) {
        throw new IllegalStateException("the singular value decomposition did not converge");
      }
      int[] order = largest(eigen, n);
      DMatrixRMaj inner = new DMatrixRMaj(n, rank);
      for (int k = 0; k < rank; k++) {
        DMatrixRMaj vector = eigen.getEigenVector(order[k]);
        for (int j = 0; j < n; j++) {
          inner.set(j, k, vector.get(j, 0));
        }
      }
      DMatrixRMaj outer = new DMatrixRMaj(Math.max(w.getNumRows(), w.getNumCols()), rank);
      if (tall) {
        CommonOps_DDRM.mult(w, inner, outer);
      } else {
        CommonOps_DDRM.multTransA(w, inner, outer);
      }
      double[] singular = normaliseColumns(outer);
      return tall ? new Directions(outer, singular, inner) : new Directions(inner, singular, outer);
    }

    private static int[] largest(EigenDecomposition_F64<DMatrixRMaj> eigen, int n) {
      return IntStream.range(0, n)
          .boxed()
          .sorted(Comparator.comparingDouble((Integer i) -> -eigen.getEigenvalue(i).getReal()))
          .mapToInt(Integer::intValue)
          .toArray();
    }

    /** Returns the columns' norms and makes each a unit vector; one that is zero stays zero. */
    private static double[] normaliseColumns(DMatrixRMaj matrix) {
      double[] norms = new double[matrix.getNumCols()];
      for (int k = 0; k < norms.length; k++) {
        double squares = 0;
        for (int i = 0; i < matrix.getNumRows(); i++) {
          squares += matrix.get(i, k) * matrix.get(i, k);
        }
        norms[k] = Math.sqrt(squares);
        for (int i = 0; i < matrix.getNumRows() && norms[k] > 0; i++) {
          matrix.set(i, k, matrix.get(i, k) / norms[k]);
        }
      }
      return norms;
    }
  }

  /** The module's own stream of the seed: FNV-1a of its path, 64 bits. */
  private CounterRandom random(Adapter adapter) {
    long stream = 0xcbf29ce484222325L;
    for (byte b : adapter.module().path().getBytes(StandardCharsets.UTF_8)) {
      stream = (stream ^ (b & 0xff)) * 0x100000001b3L;
    }
    return new CounterRandom(seed, stream);
  }

  private static void write(FloatArray target, float[] source) {
    target.write(0, source, 0, source.length);
  }
}
