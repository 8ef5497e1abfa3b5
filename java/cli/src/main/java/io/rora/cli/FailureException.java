package io.rora.cli;

/** A command that cannot do what it was asked, for a reason outside the arguments; exit code 1. */
public final class FailureException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the exception.
   *
   * @param message one line: what was wrong and what to do
   */
  public FailureException(String message) {
    super(message);
  }

  /**
   * Makes the exception.
   *
   * @param message one line: what was wrong and what to do
   * @param cause what it was found by
   */
  public FailureException(String message, Throwable cause) {
    super(message, cause);
  }
}
