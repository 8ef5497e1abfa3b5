package io.rora.benchmarks;

import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_DST;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_SRC;
import static org.bytedeco.dnnl.global.dnnl.DNNL_ARG_WEIGHTS;
import static org.bytedeco.dnnl.global.dnnl.dnnl_eltwise_linear;

import io.rora.kernels.DataType;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.bytedeco.dnnl.IntMemoryMap;
import org.bytedeco.dnnl.engine;
import org.bytedeco.dnnl.matmul;
import org.bytedeco.dnnl.memory;
import org.bytedeco.dnnl.post_ops;
import org.bytedeco.dnnl.primitive;
import org.bytedeco.dnnl.primitive_attr;
import org.bytedeco.dnnl.reorder;
import org.bytedeco.dnnl.stream;
import org.bytedeco.javacpp.FloatPointer;

/**
 * Matmul primitives made once: the frozen weight reordered before into the layout that oneDNN
 * chooses, gamma and the sum as post-operations. A and B change with every step, so they stay as
 * they are; their gradients are floats.
 */
final class OneDnnLinear implements Side {
  private final engine cpu = new engine(engine.kind.cpu, 0);
  private final stream queue = new stream(cpu);
  private final LinearOperands operands;
  private final boolean backward;
  private final memory.data_type type;
  private final List<Product> shrink = new ArrayList<>();
  private final List<Product> products = new ArrayList<>();
  private final Matrix y;
  private final Matrix dx;
  private final Matrix dA;
  private final Matrix dB;

  /** A matrix and its memory, {@code [rows, columns]}; transposed views share the memory. */
  private record Matrix(long rows, long columns, memory data) {}

  /** A primitive and its arguments. */
  private record Product(primitive computed, IntMemoryMap arguments) {}

  OneDnnLinear(LinearOperands operands, boolean backward) {
    this.operands = operands;
    this.backward = backward;
    type = operands.type == DataType.F32 ? memory.data_type.f32 : memory.data_type.bf16;
    Matrix w = matrix(operands.out, operands.in, operands.w);
    Matrix x = matrix(operands.tokens, operands.in, operands.x);
    Matrix dy = matrix(operands.tokens, operands.out, operands.dy);
    y = empty(operands.tokens, operands.out, type);
    dx = empty(operands.tokens, operands.in, type);
    if (backward) {
      products.add(product(dy, packed(dy, w, dx), dx, 1, false));
    } else {
      products.add(product(x, packed(x, transposed(w), y), y, 1, false));
    }
    if (operands.rank == 0) {
      dA = null;
      dB = null;
      return;
    }
    dA = empty(operands.rank, operands.in, memory.data_type.f32);
    dB = empty(operands.out, operands.rank, memory.data_type.f32);
    Matrix a = matrix(operands.rank, operands.in, operands.a);
    Matrix b = matrix(operands.out, operands.rank, operands.b);
    Matrix h = empty(operands.tokens, operands.rank, type);
    Matrix g = empty(operands.tokens, operands.rank, type);
    shrink.add(product(x, transposed(a), h, operands.gamma, false));
    if (backward) {
      shrink.forEach(this::execute);
      products.add(product(dy, b, g, operands.gamma, false));
      products.add(product(g, a, dx, 1, true));
      products.add(product(transposed(g), x, dA, 1, false));
      products.add(product(transposed(dy), h, dB, 1, false));
    } else {
      products.addAll(shrink);
      products.add(product(h, transposed(b), y, 1, true));
    }
    queue._wait();
  }

  private memory.desc plain(long rows, long columns, memory.data_type of, boolean transposed) {
    memory.format_tag tag = transposed ? memory.format_tag.ba : memory.format_tag.ab;
    return new memory.desc(new long[] {rows, columns}, of, tag);
  }

  private Matrix empty(long rows, long columns, memory.data_type of) {
    return new Matrix(rows, columns, new memory(plain(rows, columns, of, false), cpu));
  }

  private Matrix matrix(long rows, long columns, FloatPointer values) {
    Matrix matrix = empty(rows, columns, type);
    memory source = new memory(plain(rows, columns, memory.data_type.f32, false), cpu, values);
    reorder(source, matrix.data);
    return matrix;
  }

  private void reorder(memory from, memory to) {
    new reorder(from, to).execute(queue, from, to);
    queue._wait();
  }

  private Matrix transposed(Matrix m) {
    memory.desc described = plain(m.columns, m.rows, type, true);
    return new Matrix(m.columns, m.rows, new memory(described, cpu, m.data.get_data_handle()));
  }

  /** The weights in the layout that the product of these sizes likes best. */
  private Matrix packed(Matrix source, Matrix weights, Matrix target) {
    memory.desc any =
        new memory.desc(new long[] {weights.rows, weights.columns}, type, memory.format_tag.any);
    matmul.primitive_desc best =
        new matmul.primitive_desc(cpu, source.data.get_desc(), any, target.data.get_desc());
    memory packed = new memory(best.weights_desc(), cpu);
    reorder(weights.data, packed);
    return new Matrix(weights.rows, weights.columns, packed);
  }

  /** {@code target = scale source weights}, added to what is there if so said. */
  private Product product(Matrix source, Matrix weights, Matrix target, double scale, boolean add) {
    post_ops post = new post_ops();
    if (scale != 1) {
      post.append_eltwise(dnnl_eltwise_linear, (float) scale, 0);
    }
    if (add) {
      post.append_sum();
    }
    primitive_attr attributes = new primitive_attr();
    attributes.set_post_ops(post);
    matmul made =
        new matmul(
            new matmul.primitive_desc(
                cpu,
                source.data.get_desc(),
                weights.data.get_desc(),
                target.data.get_desc(),
                attributes,
                false));
    IntMemoryMap arguments =
        new IntMemoryMap()
            .put(DNNL_ARG_SRC, source.data)
            .put(DNNL_ARG_WEIGHTS, weights.data)
            .put(DNNL_ARG_DST, target.data);
    return new Product(made, arguments);
  }

  private void execute(Product product) {
    product.computed.execute(queue, product.arguments);
  }

  @Override
  public void run() {
    for (int i = 0; i < products.size(); i++) {
      execute(products.get(i));
    }
    queue._wait();
  }

  @Override
  public Map<String, float[]> results() {
    run();
    Map<String, float[]> results = new LinkedHashMap<>();
    if (!backward) {
      results.put("y", front(y, operands.comparedRows()));
      return results;
    }
    results.put("dx", front(dx, operands.comparedRows()));
    if (operands.rank > 0) {
      results.put("dA", front(dA, dA.rows));
      results.put("dB", front(dB, dB.rows));
    }
    return results;
  }

  private float[] front(Matrix matrix, long rows) {
    Matrix floats = empty(matrix.rows, matrix.columns, memory.data_type.f32);
    reorder(matrix.data, floats.data);
    FloatPointer values = new FloatPointer(floats.data.get_data_handle());
    return RoraLinear.toArray(values, rows * matrix.columns);
  }

  @Override
  public void close() {
    // JavaCPP frees the primitives and their memory with the objects.
    products.clear();
    shrink.clear();
  }
}
