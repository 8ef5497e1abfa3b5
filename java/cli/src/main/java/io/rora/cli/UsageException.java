package io.rora.cli;

/** What the arguments alone show to be wrong; the command ends with exit code 2. */
public final class UsageException extends RuntimeException {
  private static final long serialVersionUID = 1L;

  /**
   * Makes the exception.
   *
   * @param message one line: what was wrong and what to do
   */
  public UsageException(String message) {
    super(message);
  }
}
