package io.rora.model;

/** What an allocation counts in {@code RoraContext.bytes()}. */
final class DeviceBytes {
  private DeviceBytes() {}

  static long floats(long count) {
    return Math.multiplyExact(count, Float.BYTES);
  }

  /** Five numbers of four bytes for each token, in whole panels of 64. */
  static long batch(long maxTokens) {
    return (maxTokens + 63) / 64 * 64 * 5 * Integer.BYTES;
  }
}
