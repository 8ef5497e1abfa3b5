package io.rora.kernels;

import static io.rora.kernels.RoraException.check;
import static java.nio.charset.StandardCharsets.UTF_8;

import io.rora.kernels.bindings.Rora;
import io.rora.kernels.bindings.rora_context;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.OptionalLong;
import java.util.Set;
import org.bytedeco.javacpp.FloatPointer;

/**
 * A device, its threads and everything made on it. Closing it frees all of that, the last made
 * first.
 *
 * <p>Not thread-safe: one caller at a time, for the context and all its objects together. Use it in
 * {@code try (...)}: nothing is left to the garbage collector.
 */
public final class RoraContext implements AutoCloseable {
  /** The most threads that a context can have. */
  public static final int MAX_THREADS = 1024;

  /** For {@link #useStream}: CUDA's default stream, by its name cudaStreamLegacy. */
  public static final long DEFAULT_STREAM = 1;

  private static volatile boolean folderIsNamed;

  private final rora_context handle;
  private final Staging staging;
  private final Address stream = new Address();
  private final String isa;
  private final int threads;
  private final Set<NativeObject> objects = new LinkedHashSet<>();
  private RowWorkspace rowWorkspace;
  private boolean closed;

  private RoraContext(rora_context handle) {
    this.handle = handle;
    this.staging = new Staging();
    this.isa = Rora.rora_context_isa(handle).getString(UTF_8);
    this.threads = Rora.rora_context_threads(handle);
  }

  /**
   * Opens a device. The instruction set is chosen here; the environment variable {@code
   * RORA_MAX_ISA} (reference, portable, avx2, avx512, avx512bf16, amx) caps it.
   *
   * <p>{@code cuda} lives in the CUDA context that is current in the calling thread, and so shares
   * memory and streams with what else the thread does; {@code cuda:i} first makes the primary
   * context of device i current. Later calls must find the same one current: a thread's current
   * device is 0 until it chooses another.
   *
   * @param device {@code cpu}; {@code cuda} or {@code cuda:i} where that backend is built
   * @param threads threads that compute, the caller's included, at most {@link #MAX_THREADS}; 0
   *     takes one for each core. Results do not depend on it
   * @throws RoraException if the library cannot be loaded or the device cannot be used
   */
  public static RoraContext open(String device, int threads) {
    if (device == null) {
      throw new IllegalArgumentException("device is null: give cpu, cuda or cuda:i");
    }
    NativeLibrary.load();
    if (device.startsWith("cuda") && !folderIsNamed) {
      NativeLibrary.unpackBackend("cuda");
    }
    rora_context handle = new rora_context(null);
    check(Rora.rora_context_open(device, threads, handle));
    return new RoraContext(handle);
  }

  /**
   * Names the folder in which contexts opened later look for the library of their device, {@code
   * librora_cuda.so}, instead of the jar: for one that was built apart, for other GPUs say.
   *
   * @throws RoraException if the library cannot be loaded
   */
  public static void backendFolder(Path folder) {
    NativeLibrary.load();
    check(Rora.rora_backend_folder(folder.toAbsolutePath().toString()));
    folderIsNamed = true;
  }

  /**
   * Returns the native library's version, as {@code major.minor.patch}.
   *
   * @throws RoraException if the library cannot be loaded
   */
  public static String version() {
    NativeLibrary.load();
    return Rora.rora_version().getString(UTF_8);
  }

  /**
   * Returns the features of this processor that rora can use, separated by spaces.
   *
   * @throws RoraException if the library cannot be loaded
   */
  public static String cpuFeatures() {
    NativeLibrary.load();
    return Rora.rora_cpu_features().getString(UTF_8);
  }

  /**
   * Returns the instruction set chosen: reference, portable, avx2, avx512, avx512bf16 or amx; on a
   * GPU {@code cuda}.
   */
  public String isa() {
    handle();
    return isa;
  }

  /** Returns the number of threads that compute. */
  public int threads() {
    handle();
    return threads;
  }

  /**
   * Queues this context's work on a stream of the caller's from now on, behind what is queued so
   * far, without waiting for anything: it is then in order with the caller's own work on that
   * stream. Whoever reads results from elsewhere waits for the stream first.
   *
   * @param handle a cudaStream_t (CUstream) of the same CUDA context ({@link JcudaPointers#stream},
   *     {@link JavacppPointers#stream}), to be kept until another is chosen or this is closed; 0 is
   *     the context's own stream, {@link #DEFAULT_STREAM} CUDA's default one
   * @throws RoraException if the stream is of another CUDA context; on the CPU for any but 0
   */
  public void useStream(long handle) {
    check(Rora.rora_context_use_stream(handle(), stream.at(handle)));
  }

  /** Returns the bytes of device memory that this context's objects take. */
  public long bytes() {
    return Rora.rora_context_bytes(handle());
  }

  /**
   * Allocates zeroed floats, aligned to 64 bytes.
   *
   * @param count at least 0
   */
  public FloatArray floats(long count) {
    return new FloatArray(adopt(new FloatArray.Memory(this, count)));
  }

  /**
   * Allocates a zeroed row-major matrix {@code [rows, columns]} without padding.
   *
   * @param rows at least 0
   * @param columns at least 1
   */
  public FloatMatrix matrix(long rows, long columns) {
    return FloatMatrix.allocate(this, rows, columns, columns);
  }

  /**
   * Allocates a zeroed row-major matrix whose rows lie {@code stride} floats apart.
   *
   * @param rows at least 0
   * @param columns at least 1
   * @param stride at least {@code columns}
   */
  public FloatMatrix matrix(long rows, long columns, long stride) {
    return FloatMatrix.allocate(this, rows, columns, stride);
  }

  /**
   * Makes a zero weight {@code [outFeatures, inFeatures]}.
   *
   * @param type what it is stored as, F32 or BF16
   */
  public Weight weight(DataType type, long outFeatures, long inFeatures) {
    return adopt(new Weight(this, type, outFeatures, inFeatures));
  }

  /**
   * Makes a zero activation for up to {@code maxTokens} tokens of {@code width} features; it starts
   * with 0 tokens.
   *
   * @param type F32 or BF16
   * @param tail columns behind the features for the low-rank products of the linear group that
   *     reads it, or whose output's gradient it is: at least {@link LinearGroup#tail}
   */
  public Activation activation(DataType type, long maxTokens, long width, long tail) {
    return adopt(new Activation(this, type, maxTokens, width, tail));
  }

  /** Makes an empty batch for up to {@code maxTokens} tokens. */
  public Batch batch(int maxTokens) {
    return adopt(new Batch(this, maxTokens));
  }

  /**
   * Makes a low-rank adapter {@code scaling B A} of one projection over arrays of the caller's,
   * which must stay open as long as it is used. With a magnitude it is DoRA (arXiv:2402.09353).
   * Gradients may be null together: then it is not trained.
   *
   * @param scaling gamma, finite ({@link ScalingRule#gamma})
   * @param a lora_A {@code [rank, inFeatures]}
   * @param b lora_B {@code [outFeatures, rank]}
   * @param magnitudeOrNull {@code [outFeatures]} for DoRA
   * @param aGradOrNull gradient of a, of its shape
   * @param bGradOrNull gradient of b, of its shape
   * @param magnitudeGradOrNull gradient of the magnitude, of its shape
   */
  public LowRank lowRank(
      int outFeatures,
      int inFeatures,
      int rank,
      double scaling,
      FloatArray a,
      FloatArray b,
      FloatArray magnitudeOrNull,
      FloatArray aGradOrNull,
      FloatArray bGradOrNull,
      FloatArray magnitudeGradOrNull) {
    LowRank.Tensors tensors =
        new LowRank.Tensors(a, b, magnitudeOrNull, aGradOrNull, bGradOrNull, magnitudeGradOrNull);
    return adopt(new LowRank(this, outFeatures, inFeatures, rank, scaling, tensors));
  }

  /** Makes a group of 1 to 4 projections that read the same input, without biases or adapters. */
  public LinearGroup linear(int projections) {
    return adopt(new LinearGroup(this, projections));
  }

  /**
   * Makes a linear layer on row-major memory of the caller's, for trainers of other libraries: on a
   * GPU device memory.
   *
   * @param weight W {@code [outFeatures, inFeatures]}, which must stay open as long as it is used
   * @param rank the adapter's, which {@link RowLinear#adapter} then places; 0 is the bare layer
   * @param rows the type of x, y and their gradients in the caller's memory, F32 or BF16
   * @param compute the type that the kernels see of them. F32 keeps all of a float, whatever the
   *     weight is stored as. BF16 rounds x, h, y and their gradients to bf16 and keeps sums in
   *     float: with a BF16 weight these are the fast kernels, also where {@code rows} is F32
   */
  public RowLinear rowLinear(Weight weight, int rank, DataType rows, DataType compute) {
    handle();
    if (rowWorkspace == null) {
      rowWorkspace = adopt(new RowWorkspace(this));
    }
    return new RowLinear(rowWorkspace, weight, rank, rows, compute);
  }

  /**
   * Makes the table of rotary angles (arXiv:2104.09864) for positions {@code [0, positions)}.
   *
   * @param headDim even
   * @param inverseFrequencies {@code headDim / 2} values, any scaling already applied
   */
  public Rope rope(long positions, int headDim, float[] inverseFrequencies) {
    return adopt(new Rope(this, positions, headDim, inverseFrequencies));
  }

  /**
   * Describes causal attention with grouped queries (arXiv:2305.13245). Its input holds {@code
   * heads * headDim} query columns from column 0 on.
   *
   * @param kvHeads divides {@code heads}
   * @param headDim even
   * @param keyColumn where {@code kvHeads * headDim} key columns start
   * @param valueColumn where as many value columns start
   */
  public Attention attention(
      int heads, int kvHeads, int headDim, long keyColumn, long valueColumn) {
    return adopt(new Attention(this, heads, kvHeads, headDim, keyColumn, valueColumn));
  }

  /**
   * One AdamW update (arXiv:1711.05101) as torch.optim.AdamW computes it; then sets the gradients
   * to zero. The arrays are equally long, and the result does not depend on how a range is cut.
   *
   * @param m first moments
   * @param v second moments
   */
  public void adamw(
      AdamwStep step, FloatArray values, FloatArray gradients, FloatArray m, FloatArray v) {
    rora_context open = handle();
    long count = values.length();
    FloatPointer valuesPointer = values.pointer(this, count, "values");
    FloatPointer gradientsPointer = gradients.pointer(this, count, "gradients");
    FloatPointer mPointer = m.pointer(this, count, "first moments");
    FloatPointer vPointer = v.pointer(this, count, "second moments");
    if (count > 0) {
      check(
          Rora.rora_adamw(
              open, step.struct(), count, valuesPointer, gradientsPointer, mPointer, vPointer));
    }
  }

  /** Returns the sum of squares of all values, in double and in a fixed order. */
  public double sumOfSquares(FloatArray values) {
    rora_context open = handle();
    long count = values.length();
    FloatPointer pointer = values.pointer(this, count, "values");
    if (count == 0) {
      return 0;
    }
    check(Rora.rora_sum_of_squares(open, count, pointer, staging.scalarPointer()));
    return staging.scalar();
  }

  /**
   * Measures the arithmetic peak, in FLOP per second: a loop that multiplies and adds in registers
   * alone, on all threads, with the instruction that this context's kernels use for the type. Takes
   * about a quarter of a second.
   *
   * @param type F32 or BF16
   */
  public double measurePeak(DataType type) {
    check(Rora.rora_measure_peak(handle(), type.code(), staging.scalarPointer()));
    return staging.scalar();
  }

  /**
   * Measures the memory's bandwidth, in bytes per second: all threads read a buffer from end to
   * end.
   *
   * @param bytes of the buffer, allocated for the call, at least 1 MiB; 0 takes four times what the
   *     system says of the last cache, at least 256 MiB
   */
  public double measureBandwidth(long bytes) {
    check(Rora.rora_measure_bandwidth(handle(), bytes, staging.scalarPointer()));
    return staging.scalar();
  }

  /** Returns the bytes of the device's memory in all; empty where it is the host's own. */
  public OptionalLong deviceMemory() {
    return known(Rora.rora_context_memory(handle()));
  }

  /** Returns the bytes of the device's memory that can be had; empty where it is the host's own. */
  public OptionalLong freeDeviceMemory() {
    return known(Rora.rora_context_free_memory(handle()));
  }

  private static OptionalLong known(long bytes) {
    return bytes < 0 ? OptionalLong.empty() : OptionalLong.of(bytes);
  }

  /** Frees everything made on this context, then the context. A second call does nothing. */
  @Override
  public void close() {
    if (closed) {
      return;
    }
    List<NativeObject> all = new ArrayList<>(objects);
    for (int i = all.size() - 1; i >= 0; i--) {
      all.get(i).close();
    }
    closed = true;
    Rora.rora_context_close(handle);
  }

  /** The C object, if it is still open. */
  rora_context handle() {
    if (closed) {
      throw new IllegalStateException("this RoraContext is closed: open another");
    }
    return handle;
  }

  /** Host memory between Java arrays and native calls. */
  Staging staging() {
    return staging;
  }

  void forget(NativeObject object) {
    objects.remove(object);
  }

  private <T extends NativeObject> T adopt(T object) {
    objects.add(object);
    return object;
  }
}
