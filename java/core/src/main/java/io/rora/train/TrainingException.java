package io.rora.train;

/** A run cannot begin or go on. The message says in one line what is wrong and what to do. */
public final class TrainingException extends RuntimeException {
  /** Makes an exception. */
  public TrainingException(String message) {
    super(message);
  }
}
