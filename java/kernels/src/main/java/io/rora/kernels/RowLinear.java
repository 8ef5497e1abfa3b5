package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;

/**
 * A linear layer and its adapter on row-major memory of somebody else's, by address, for trainers
 * of other libraries. {@code y = x W^T + h B^T} with {@code h = scaling x A^T}, and its gradients.
 *
 * <p>Everything but W lies where the caller has it: in direct buffers ({@link HostMemory}), in
 * tensors of another library, wherever an address can be told. On a GPU's context these are device
 * addresses ({@link JcudaPointers}, {@link JavacppPointers}), and calls only queue work on the
 * context's stream ({@link RoraContext#useStream}). Addresses need only be multiples of the
 * element's size. A matrix is an address and a stride, the elements from one row to the next; what
 * lies between the rows is neither read nor written. Activations are converted into the kernels'
 * layout and back at the speed of memory; nothing passes through the Java heap, and no call makes a
 * Java object.
 *
 * <p>Addresses are believed: memory that is shorter than a matrix, freed or garbage collected
 * meanwhile ends the process. Null addresses, addresses between elements or, on a GPU, of memory it
 * cannot reach, strides below their rows, negative sizes and results that overlap something give a
 * {@link RoraException} before the first write.
 *
 * <p>It owns nothing, so there is nothing to close. What conversion needs is kept by the context,
 * one for all of its layers, as large as the largest call: {@code tokens} (rounded up to 64) times
 * {@code 2 inFeatures + outFeatures + 2 rank} elements of the type computed in. Not thread-safe,
 * like the context.
 */
public final class RowLinear {
  private final RoraContext context;
  private final RowWorkspace workspace;
  private final Weight weight;
  private final int rank;
  private final DataType rows;
  private final DataType compute;
  private float scaling = 1;
  private long a;
  private long lda;
  private long b;
  private long ldb;
  private long gradientOfA;
  private long ldda;
  private long gradientOfB;
  private long lddb;
  private final Address input = new Address();
  private final Address output = new Address();
  private final Address lowRank = new Address();
  private final Address adapterA = new Address();
  private final Address adapterB = new Address();
  private final Address adapterGradientA = new Address();
  private final Address adapterGradientB = new Address();
  private final Address inputGradient = new Address();

  RowLinear(RowWorkspace workspace, Weight weight, int rank, DataType rows, DataType compute) {
    this.context = workspace.context();
    weight.handle(context);
    if (rank < 0) {
      throw new IllegalArgumentException("rank=" + rank + ": must not be negative");
    }
    checkType(rows, "rows");
    checkType(compute, "compute");
    this.workspace = workspace;
    this.weight = weight;
    this.rank = rank;
    this.rows = rows;
    this.compute = compute;
  }

  /** Returns the adapter's rank; 0 is the bare layer. */
  public int rank() {
    return rank;
  }

  /** Returns W. */
  public Weight weight() {
    return weight;
  }

  /**
   * Says where the adapter lies, from now on; its values are read by each call. If they are tight
   * ({@code lda == inFeatures}, {@code ldb == rank}) they are read in place, else copied.
   *
   * @param gamma alpha / rank or alpha / sqrt(rank) ({@link ScalingRule#gamma})
   * @param addressA of floats {@code [rank, inFeatures]}
   * @param strideA floats from one row of A to the next
   * @param addressB of floats {@code [outFeatures, rank]}
   * @param strideB floats from one row of B to the next
   */
  public void adapter(double gamma, long addressA, long strideA, long addressB, long strideB) {
    scaling = (float) gamma;
    a = addressA;
    lda = strideA;
    b = addressB;
    ldb = strideB;
  }

  /**
   * Says where {@link #backward} leaves the gradients of A and B, from now on; at first nowhere. 0
   * for both addresses: they are not wanted.
   *
   * @param addressA of floats {@code [rank, inFeatures]}
   * @param addressB of floats {@code [outFeatures, rank]}
   */
  public void gradients(long addressA, long strideA, long addressB, long strideB) {
    gradientOfA = addressA;
    ldda = strideA;
    gradientOfB = addressB;
    lddb = strideB;
  }

  /**
   * Computes y, and h for the backward pass. No two matrices may overlap.
   *
   * @param tokens rows of x, h and y; 0 writes nothing
   * @param x address of {@code [tokens, inFeatures]}
   * @param ldx elements from one row of x to the next
   * @param h address of floats {@code [tokens, rank]}; not looked at where the rank is 0
   * @param ldh floats from one row of h to the next
   * @param y address of {@code [tokens, outFeatures]}
   * @param ldy elements from one row of y to the next
   */
  public void forward(long tokens, long x, long ldx, long h, long ldh, long y, long ldy) {
    check(
        Rora.rora_linear_forward_rows(
            workspace.handle(),
            weight.handle(context),
            compute.code(),
            tokens,
            rank,
            scaling,
            rows.code(),
            input.at(x),
            ldx,
            adapterA.at(a),
            lda,
            adapterB.at(b),
            ldb,
            lowRank.at(h),
            ldh,
            output.at(y),
            ldy));
  }

  /**
   * Computes the gradients of x, A and B from that of y. No two matrices may overlap.
   *
   * @param tokens rows of x, h, dy and dx
   * @param x as the forward pass read it; not looked at if no gradients of A and B are wanted
   * @param ldx elements from one row of x to the next
   * @param h as the forward pass wrote it; not looked at if no gradients of A and B are wanted
   * @param ldh floats from one row of h to the next
   * @param dy address of {@code [tokens, outFeatures]}
   * @param lddy elements from one row of dy to the next
   * @param addToAdapter whether the gradients of A and B are added to what is there, as for the
   *     second and later parts of a batch; else it is overwritten
   * @param dx address of {@code [tokens, inFeatures]}, or 0 if it is not wanted
   * @param lddx elements from one row of dx to the next
   * @param addToInput whether the gradient of x is added to what is there (in float, rounded once),
   *     as for layers that share an input; else it is overwritten
   */
  public void backward(
      long tokens,
      long x,
      long ldx,
      long h,
      long ldh,
      long dy,
      long lddy,
      boolean addToAdapter,
      long dx,
      long lddx,
      boolean addToInput) {
    check(
        Rora.rora_linear_backward_rows(
            workspace.handle(),
            weight.handle(context),
            compute.code(),
            tokens,
            rank,
            scaling,
            rows.code(),
            input.at(x),
            ldx,
            adapterA.at(a),
            lda,
            adapterB.at(b),
            ldb,
            lowRank.at(h),
            ldh,
            output.at(dy),
            lddy,
            (addToAdapter ? Rora.RORA_ADD_TO_ADAPTER : 0)
                | (addToInput ? Rora.RORA_ADD_TO_INPUT : 0),
            adapterGradientA.at(gradientOfA),
            ldda,
            adapterGradientB.at(gradientOfB),
            lddb,
            inputGradient.at(dx),
            lddx));
  }

  private static void checkType(DataType type, String name) {
    if (type != DataType.F32 && type != DataType.BF16) {
      throw new IllegalArgumentException(name + " is " + type + ": must be F32 or BF16");
    }
  }
}
