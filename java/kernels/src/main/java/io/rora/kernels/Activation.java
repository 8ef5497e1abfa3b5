package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import io.rora.kernels.bindings.rora_activation;
import java.nio.FloatBuffer;

/**
 * What layers exchange: {@code [tokens, width]} in the kernels' own layout, with room behind the
 * features for the low-rank products of the linear group that reads it.
 */
public final class Activation extends NativeObject {
  private final rora_activation handle = new rora_activation(null);
  private final DataType type;
  private final long maxTokens;
  private final long width;

  Activation(RoraContext context, DataType type, long maxTokens, long width, long tail) {
    super(context);
    this.type = type;
    this.maxTokens = maxTokens;
    this.width = width;
    check(
        Rora.rora_activation_create(context.handle(), type.code(), maxTokens, width, tail, handle));
  }

  /**
   * Returns the bytes that an activation of this shape takes.
   *
   * @throws RoraException if the library cannot be loaded
   */
  public static long bytes(DataType type, long maxTokens, long width, long tail) {
    NativeLibrary.load();
    return Rora.rora_activation_bytes(type.code(), maxTokens, width, tail);
  }

  /** Sets the number of tokens, 0 to {@link #maxTokens}. Those added are undefined but finite. */
  public void resize(long tokens) {
    check(Rora.rora_activation_resize(handle(), tokens));
  }

  /** Returns the number of tokens. */
  public long tokens() {
    return Rora.rora_activation_tokens(handle());
  }

  /** Returns the largest number of tokens. */
  public long maxTokens() {
    return maxTokens;
  }

  /** Returns the number of features. */
  public long width() {
    return width;
  }

  /** Returns the element type. */
  public DataType type() {
    return type;
  }

  /**
   * Writes columns {@code [column, column + columns)} of all tokens.
   *
   * @param source row-major {@code [tokens, columns]}, tight
   */
  public void write(long column, long columns, float[] source) {
    long tokens = tokens();
    checkColumns(column, columns);
    if (source.length < Math.multiplyExact(tokens, columns)) {
      throw new IllegalArgumentException(
          "source has " + source.length + " floats: needs " + tokens + " x " + columns);
    }
    if (tokens == 0) {
      return;
    }
    FloatBuffer host = context().staging().floats(tokens);
    // The C call writes all tokens at once, so the parts are columns.
    int most = (int) Math.min(columns, host.capacity() / tokens);
    for (int done = 0; done < columns; ) {
      int part = (int) Math.min(most, columns - done);
      for (int token = 0; token < tokens; token++) {
        host.put(token * part, source, (int) (token * columns) + done, part);
      }
      check(Rora.rora_activation_write(handle(), column + done, part, host, part));
      done += part;
    }
  }

  /**
   * Reads columns {@code [column, column + columns)} of tokens {@code [token, token + tokens)}.
   *
   * @param target its front receives them row-major and tight
   */
  public void read(long token, long tokens, long column, long columns, float[] target) {
    checkColumns(column, columns);
    if (tokens < 0 || target.length < Math.multiplyExact(tokens, columns)) {
      throw new IllegalArgumentException(
          "target has " + target.length + " floats: needs " + tokens + " x " + columns);
    }
    FloatBuffer host = context().staging().floats(columns);
    long most = host.capacity() / Math.max(1, columns);
    long done = 0;
    do { // once at least, so that the library checks the range
      long part = Math.min(most, tokens - done);
      check(
          Rora.rora_activation_read(
              handle(), token + done, part, column, columns, host, Math.max(1, columns)));
      host.get(0, target, (int) (done * columns), (int) (part * columns));
      done += part;
    } while (done < tokens);
  }

  /** Takes over tokens and features of {@code source}: of the same width; types may differ. */
  public void copyFrom(Activation source) {
    check(Rora.rora_activation_copy(source.handle(context()), handle()));
  }

  /** {@code target += this}; of the same width and tokens. */
  public void addTo(Activation target) {
    check(Rora.rora_activation_add(handle(), target.handle(context())));
  }

  /** Sets all features of all tokens to zero. */
  public void clear() {
    check(Rora.rora_activation_clear(handle()));
  }

  /**
   * Copies the features of tokens {@code [sourceToken, sourceToken + count)} to {@code target} from
   * {@code targetToken} on, which must have them already. Source and target may be one object if
   * the ranges do not overlap.
   */
  public void copyTokens(long sourceToken, Activation target, long targetToken, long count) {
    check(
        Rora.rora_activation_copy_tokens(
            handle(), sourceToken, target.handle(context()), targetToken, count));
  }

  @Override
  void release() {
    Rora.rora_activation_destroy(handle);
  }

  /** The C object, if it is open. */
  rora_activation handle() {
    checkOpen();
    return handle;
  }

  /** As {@link #handle()}, for a call on {@code user}. */
  rora_activation handle(RoraContext user) {
    checkUsableOn(user);
    return handle;
  }

  /** As {@link #handle(RoraContext)}; null for null. */
  static rora_activation handleOrNull(Activation activation, RoraContext user) {
    return activation == null ? null : activation.handle(user);
  }

  private void checkColumns(long column, long columns) {
    if (column < 0 || columns < 0 || column > width - columns) {
      throw new IllegalArgumentException(
          "column=" + column + ", columns=" + columns + ": must lie within the " + width);
    }
  }
}
