/**
 * The native kernels for any JVM trainer. It knows matrices, ranks and scalings, never models,
 * tokenizers or files.
 *
 * <p>A {@link io.rora.kernels.RoraContext} is opened in {@code try (...)}; all else is made on it
 * and freed with it. What a call takes is made before, at set-up: a call allocates no Java object
 * and no JavaCPP Pointer.
 *
 * <p>The memory of a context is allocated by the native library itself, so JavaCPP's own limits
 * ({@code org.bytedeco.javacpp.maxBytes} and {@code maxPhysicalBytes}, which it derives from the
 * JVM's heap) do not apply to it and need not be raised; nor does JavaCPP's deallocator thread
 * ({@code noPointerGC}) ever free anything here.
 */
package io.rora.kernels;
