package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import io.rora.kernels.bindings.rora_rope;
import java.nio.FloatBuffer;

/** The sines and cosines of a rotary embedding (arXiv:2104.09864). */
public final class Rope extends NativeObject {
  private final rora_rope handle = new rora_rope(null);

  Rope(RoraContext context, long positions, int headDim, float[] inverseFrequencies) {
    super(context);
    if (inverseFrequencies.length != headDim / 2) {
      throw new IllegalArgumentException(
          inverseFrequencies.length + " inverse frequencies: must be headDim / 2 = " + headDim / 2);
    }
    FloatBuffer host = context.staging().floats(inverseFrequencies.length);
    host.put(0, inverseFrequencies);
    check(Rora.rora_rope_create(context.handle(), positions, headDim, host, handle));
  }

  /**
   * Rotates {@code heads} heads from column {@code column} of x on, in place; feature i pairs with
   * i + headDim / 2, as in transformers.
   *
   * @param inverse rotates backwards, which is the gradient
   */
  public void apply(Batch batch, long column, long heads, boolean inverse, Activation x) {
    checkOpen();
    check(
        Rora.rora_rope_apply(
            handle, batch.handle(context()), column, heads, inverse ? 1 : 0, x.handle(context())));
  }

  @Override
  void release() {
    Rora.rora_rope_destroy(handle);
  }
}
