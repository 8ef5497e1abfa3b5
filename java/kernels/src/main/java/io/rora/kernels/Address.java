package io.rora.kernels;

import org.bytedeco.javacpp.FloatPointer;
import org.bytedeco.javacpp.Pointer;

/**
 * A pointer that is aimed before a call. The bindings take Pointers, and making one costs a hundred
 * times as much as the call: so whoever is called with addresses keeps one of these for each
 * argument. It owns nothing.
 */
final class Address extends FloatPointer {
  Address() {
    super((Pointer) null);
  }

  /** This, pointing to {@code value}; 0 is NULL. */
  Address at(long value) {
    address = value;
    return this;
  }
}
