package io.rora.kernels;

/**
 * Something that lives in native memory of a {@link RoraContext}, until it or its context is
 * closed. Not thread-safe, like the context.
 */
abstract class NativeObject implements AutoCloseable {
  private final RoraContext context;
  private boolean closed;

  NativeObject(RoraContext context) {
    this.context = context;
  }

  /** Frees the native object; called once. */
  abstract void release();

  /** What messages call it. */
  String kind() {
    return getClass().getSimpleName();
  }

  /** Returns the context this was made on. */
  public final RoraContext context() {
    return context;
  }

  /** Frees the native memory; a second call does nothing. Every other call on it then throws. */
  @Override
  public final void close() {
    if (!closed) {
      closed = true;
      context.forget(this);
      release();
    }
  }

  /** Throws if this or its context is closed. */
  final void checkOpen() {
    if (closed) {
      throw new IllegalStateException(
          "this " + kind() + " is closed: make another on an open context");
    }
  }

  /** Throws if this is closed or lives on another context than {@code user}. */
  final void checkUsableOn(RoraContext user) {
    checkOpen();
    if (context != user) {
      throw new IllegalArgumentException(
          "this " + kind() + " is of another context: make both on the same one");
    }
  }
}
