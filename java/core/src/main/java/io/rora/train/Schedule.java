package io.rora.train;

/** How the learning rate goes on after the warm-up. */
public enum Schedule {
  /** Stays. */
  CONSTANT,
  /** Falls to zero along a line. */
  LINEAR,
  /** Falls to zero along half a cosine. */
  COSINE
}
