package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import io.rora.kernels.bindings.rora_weight;
import java.nio.ByteBuffer;
import java.nio.FloatBuffer;

/**
 * A base weight {@code [outFeatures, inFeatures]} as the kernels like it. A frozen one is written
 * once and shared by any number of adapters.
 */
public final class Weight extends NativeObject {
  private final rora_weight handle = new rora_weight(null);
  private final DataType type;
  private final long outFeatures;
  private final long inFeatures;
  private final Address source = new Address();
  private FloatArray master;
  private FloatArray gradient;

  Weight(RoraContext context, DataType type, long outFeatures, long inFeatures) {
    super(context);
    this.type = type;
    this.outFeatures = outFeatures;
    this.inFeatures = inFeatures;
    check(Rora.rora_weight_create(context.handle(), type.code(), outFeatures, inFeatures, handle));
  }

  /** Returns the number of rows. */
  public long outFeatures() {
    return outFeatures;
  }

  /** Returns the number of columns. */
  public long inFeatures() {
    return inFeatures;
  }

  /** Returns what the weight is stored as. */
  public DataType type() {
    return type;
  }

  /**
   * Writes rows {@code [row, row + rows)}, rounding to nearest even where the storage is narrower.
   *
   * @param source direct, in native order; tight rows from its position on, which stays
   */
  public void write(long row, long rows, DataType sourceType, ByteBuffer source) {
    checkRows(row, rows);
    long bytes = Math.multiplyExact(Math.multiplyExact(rows, inFeatures), sourceType.bytes());
    if (!source.isDirect() || source.remaining() < bytes) {
      throw new IllegalArgumentException(
          "source has "
              + (source.remaining() + " bytes" + (source.isDirect() ? "" : ", not direct"))
              + (": must be a direct buffer with at least " + bytes));
    }
    check(Rora.rora_weight_write(handle(), row, rows, sourceType.code(), source, inFeatures));
  }

  /**
   * Writes rows {@code [row, row + rows)} from memory of another's, the host's or the context's
   * device's, rounding to nearest even where the storage is narrower. The memory has been read when
   * this returns. The address is believed: memory that is shorter ends the process.
   *
   * @param address of the first row; a multiple of the element's size
   * @param stride elements from one row to the next, at least {@link #inFeatures}
   */
  public void write(long row, long rows, DataType sourceType, long address, long stride) {
    checkRows(row, rows);
    if (address % sourceType.bytes() != 0) {
      throw new IllegalArgumentException(
          "address=" + address + ": must be a multiple of " + sourceType.bytes());
    }
    check(
        Rora.rora_weight_write(handle(), row, rows, sourceType.code(), source.at(address), stride));
  }

  /** Reads rows {@code [row, row + rows)} into the front of {@code target}, tight. */
  public void read(long row, long rows, float[] target) {
    checkRows(row, rows);
    checkRoom(target, Math.multiplyExact(rows, inFeatures));
    FloatBuffer host = context().staging().floats(inFeatures);
    long most = Math.max(1, host.capacity() / Math.max(1, inFeatures));
    for (long done = 0; done < rows; ) {
      long part = Math.min(most, rows - done);
      check(Rora.rora_weight_read(handle(), row + done, part, host, inFeatures));
      host.get(0, target, (int) (done * inFeatures), (int) (part * inFeatures));
      done += part;
    }
  }

  /**
   * Binds the float32 master copy and gradient of a weight that is trained (full fine-tuning), both
   * of {@code outFeatures * inFeatures} floats; they must stay open while bound. Backward calls add
   * to the gradient. Null unbinds.
   */
  public void train(FloatArray masterOrNull, FloatArray gradientOrNull) {
    long count = outFeatures * inFeatures;
    check(
        Rora.rora_weight_train(
            handle(),
            FloatArray.pointerOrNull(masterOrNull, context(), count, "master"),
            FloatArray.pointerOrNull(gradientOrNull, context(), count, "gradient")));
    master = masterOrNull;
    gradient = gradientOrNull;
  }

  /** Copies the bound master into the weight's storage: after an update. */
  public void refresh() {
    check(Rora.rora_weight_refresh(handle()));
  }

  /** Copies the weight's storage into the bound master. */
  public void toMaster() {
    check(Rora.rora_weight_to_master(handle()));
  }

  /** Writes the Euclidean norm of each row to the front of {@code target}. */
  public void rowNorms(float[] target) {
    checkRoom(target, outFeatures);
    FloatBuffer host = context().staging().floats(outFeatures);
    check(Rora.rora_weight_row_norms(handle(), host));
    host.get(0, target, 0, (int) outFeatures);
  }

  @Override
  void release() {
    Rora.rora_weight_destroy(handle);
  }

  /** The C object, if it and what is bound to it are open. */
  rora_weight handle() {
    checkOpen();
    FloatArray.checkOpenOrNull(master);
    FloatArray.checkOpenOrNull(gradient);
    return handle;
  }

  /** As {@link #handle()}, for a call on {@code user}. */
  rora_weight handle(RoraContext user) {
    checkUsableOn(user);
    return handle();
  }

  private void checkRows(long row, long rows) {
    if (row < 0 || rows < 0 || row > outFeatures - rows) {
      throw new IllegalArgumentException(
          "row=" + row + ", rows=" + rows + ": must lie within the " + outFeatures + " rows");
    }
  }

  private static void checkRoom(float[] target, long count) {
    if (target.length < count) {
      throw new IllegalArgumentException(
          "target has " + target.length + " floats: needs at least " + count);
    }
  }
}
