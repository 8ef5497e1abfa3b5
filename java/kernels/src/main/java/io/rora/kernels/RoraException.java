package io.rora.kernels;

import io.rora.kernels.bindings.Rora;
import java.nio.charset.StandardCharsets;

/** What the native library refused or failed to do; its message says why and what to do. */
public final class RoraException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /** The kind of a failure. */
  public enum Reason {
    /** An argument breaks a rule; nothing was written. */
    INVALID_ARGUMENT,
    /** Memory is exhausted. */
    OUT_OF_MEMORY,
    /** Legal, but not on this device or in this build. */
    UNSUPPORTED,
    /** A fault of the library. */
    INTERNAL,
    /** The library cannot be loaded. */
    NOT_LOADED
  }

  /** The kind of this failure. */
  private final Reason reason;

  RoraException(Reason reason, String message, Throwable cause) {
    super(message, cause);
    this.reason = reason;
  }

  /** Returns the kind of this failure. */
  public Reason reason() {
    return reason;
  }

  /** Throws what a status of the C API stands for, with the library's own message. */
  static void check(int status) {
    if (status != Rora.RORA_OK) {
      throw new RoraException(
          reasonOf(status), Rora.rora_last_error().getString(StandardCharsets.UTF_8), null);
    }
  }

  private static Reason reasonOf(int status) {
    return switch (status) {
      case Rora.RORA_INVALID_ARGUMENT -> Reason.INVALID_ARGUMENT;
      case Rora.RORA_OUT_OF_MEMORY -> Reason.OUT_OF_MEMORY;
      case Rora.RORA_UNSUPPORTED -> Reason.UNSUPPORTED;
      default -> Reason.INTERNAL;
    };
  }
}
