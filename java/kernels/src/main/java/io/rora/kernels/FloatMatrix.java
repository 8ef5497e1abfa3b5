package io.rora.kernels;

/**
 * A row-major matrix of floats in a context's memory, whose rows may lie further apart than they
 * are long. For {@link Linear}, the boundary to trainers that keep row-major matrices.
 */
public final class FloatMatrix implements AutoCloseable {
  private final FloatArray memory;
  private final long rows;
  private final long columns;
  private final long stride;

  private FloatMatrix(FloatArray memory, long rows, long columns, long stride) {
    this.memory = memory;
    this.rows = rows;
    this.columns = columns;
    this.stride = stride;
  }

  static FloatMatrix allocate(RoraContext context, long rows, long columns, long stride) {
    if (rows < 0 || columns < 1) {
      throw new IllegalArgumentException(
          "matrix is [" + rows + ", " + columns + "]: rows must be >= 0 and columns >= 1");
    }
    if (stride < columns) {
      throw new IllegalArgumentException(
          "stride=" + stride + ": must be at least columns (" + columns + ")");
    }
    FloatArray memory = context.floats(Math.multiplyExact(rows, stride));
    return new FloatMatrix(memory, rows, columns, stride);
  }

  /** Returns the number of rows. */
  public long rows() {
    return rows;
  }

  /** Returns the number of columns. */
  public long columns() {
    return columns;
  }

  /** Returns the floats from one row to the next, at least {@link #columns}. */
  public long stride() {
    return stride;
  }

  /** Returns all floats, padding included, as an array that shares this matrix's memory. */
  public FloatArray memory() {
    return memory;
  }

  /** Writes all rows from a tight row-major array of {@code rows * columns} floats. */
  public void write(float[] source) {
    checkTight(source);
    for (long row = 0; row < rows; row++) {
      memory.write(row * stride, source, (int) (row * columns), (int) columns);
    }
  }

  /** Returns all rows as a new tight row-major array; padding is left out. */
  public float[] toArray() {
    float[] target = new float[Math.toIntExact(Math.multiplyExact(rows, columns))];
    for (long row = 0; row < rows; row++) {
      memory.read(row * stride, target, (int) (row * columns), (int) columns);
    }
    return target;
  }

  /** Frees the memory before its context is closed. A second call does nothing. */
  @Override
  public void close() {
    memory.close();
  }

  /** The address for a native call, if it is open, on {@code user} and of this shape. */
  long address(RoraContext user, long expectedRows, long expectedColumns, String name) {
    if (rows != expectedRows || columns != expectedColumns) {
      throw new IllegalArgumentException(
          name
              + (" is [" + rows + ", " + columns + "]: ")
              + ("must be [" + expectedRows + ", " + expectedColumns + "]"));
    }
    return memory.pointer(user, memory.length(), name).address();
  }

  private void checkTight(float[] array) {
    if (array.length != Math.multiplyExact(rows, columns)) {
      throw new IllegalArgumentException(
          array.length + " floats for a matrix [" + rows + ", " + columns + "]");
    }
  }
}
