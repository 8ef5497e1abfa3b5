/**
 * The C API as JavaCPP generates it from {@code native/include/rora}. Only {@code io.rora.kernels}
 * calls it.
 */
package io.rora.kernels.bindings;
