package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import io.rora.kernels.bindings.rora_adapter;
import java.nio.FloatBuffer;

/**
 * A low-rank adapter of one projection, {@code W + scaling B A} (arXiv:2106.09685), over arrays of
 * the caller's. With a magnitude it is DoRA (arXiv:2402.09353): row n of {@code V = W + scaling B
 * A} is multiplied by {@code magnitude[n] / |V[n]|}, whose norm is detached from the gradient.
 */
public final class LowRank extends NativeObject {
  private final rora_adapter handle = new rora_adapter(null);
  private final int outFeatures;
  private final int inFeatures;
  private final int rank;
  private final double scaling;
  private final Tensors tensors;

  /** The caller's arrays; see {@link RoraContext#lowRank}. */
  record Tensors(
      FloatArray a,
      FloatArray b,
      FloatArray magnitude,
      FloatArray aGradient,
      FloatArray bGradient,
      FloatArray magnitudeGradient) {

    void checkOpen() {
      FloatArray.checkOpenOrNull(a);
      FloatArray.checkOpenOrNull(b);
      FloatArray.checkOpenOrNull(magnitude);
      FloatArray.checkOpenOrNull(aGradient);
      FloatArray.checkOpenOrNull(bGradient);
      FloatArray.checkOpenOrNull(magnitudeGradient);
    }
  }

  LowRank(
      RoraContext context,
      int outFeatures,
      int inFeatures,
      int rank,
      double scaling,
      Tensors tensors) {
    super(context);
    if (tensors.a() == null || tensors.b() == null) {
      throw new IllegalArgumentException("lora_A or lora_B is null: an adapter needs both");
    }
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    this.rank = rank;
    this.scaling = scaling;
    this.tensors = tensors;
    long aCount = (long) rank * inFeatures;
    long bCount = (long) outFeatures * rank;
    check(
        Rora.rora_adapter_create(
            context.handle(),
            outFeatures,
            inFeatures,
            rank,
            (float) scaling,
            tensors.a().pointer(context, aCount, "lora_A"),
            tensors.b().pointer(context, bCount, "lora_B"),
            FloatArray.pointerOrNull(tensors.magnitude(), context, outFeatures, "magnitude"),
            FloatArray.pointerOrNull(tensors.aGradient(), context, aCount, "lora_A gradient"),
            FloatArray.pointerOrNull(tensors.bGradient(), context, bCount, "lora_B gradient"),
            FloatArray.pointerOrNull(
                tensors.magnitudeGradient(), context, outFeatures, "magnitude gradient"),
            handle));
  }

  /**
   * Says that the tensors changed (after loading or an optimiser step). With DoRA it recomputes the
   * norms of V's rows.
   *
   * @param weight the W that this adapter is attached to
   */
  public void refresh(Weight weight) {
    check(Rora.rora_adapter_refresh(handle(), weight.handle(context())));
  }

  /**
   * Lets only the first {@code rows} rows of A and columns of B receive gradients, at first all:
   * the trained half of PiSSA's frozen pair.
   *
   * @param rows 0 to the rank
   */
  public void trainRank(int rows) {
    check(Rora.rora_adapter_train_rank(handle(), rows));
  }

  /** Writes the norms of V's rows, as the last {@link #refresh} found them (DoRA), to the front. */
  public void norms(float[] target) {
    if (target.length < outFeatures) {
      throw new IllegalArgumentException(
          "target has " + target.length + " floats: needs at least " + outFeatures);
    }
    FloatBuffer host = context().staging().floats(outFeatures);
    check(Rora.rora_adapter_norms(handle(), host));
    host.get(0, target, 0, outFeatures);
  }

  /** Returns the rank. */
  public int rank() {
    return rank;
  }

  /** Returns gamma. */
  public double scaling() {
    return scaling;
  }

  /** Returns the rows of B. */
  public int outFeatures() {
    return outFeatures;
  }

  /** Returns the columns of A. */
  public int inFeatures() {
    return inFeatures;
  }

  @Override
  void release() {
    Rora.rora_adapter_destroy(handle);
  }

  /** Throws if this or one of its arrays is closed. */
  void checkUsable() {
    checkOpen();
    tensors.checkOpen();
  }

  /** The C object, for a call on {@code user}. */
  rora_adapter handle(RoraContext user) {
    checkUsableOn(user);
    return handle();
  }

  private rora_adapter handle() {
    checkUsable();
    return handle;
  }
}
