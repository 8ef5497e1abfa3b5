package io.rora.benchmarks;

import io.rora.kernels.AdamwStep;
import io.rora.kernels.FloatArray;
import io.rora.kernels.RoraContext;
import java.util.Map;
import org.bytedeco.pytorch.CompilationUnit;
import org.bytedeco.pytorch.Function;
import org.bytedeco.pytorch.IValue;
import org.bytedeco.pytorch.IValueVector;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.global.torch;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/**
 * One AdamW update of flat float arrays (arXiv:1711.05101), with the gradients set to zero
 * afterwards, as a step needs it; libtorch: its fused kernel and {@code zero_}. {@code tokens} and
 * {@code dtype} do not matter.
 */
public class Adamw extends Operator {
  private static final double RATE = 1e-3;

  /** Values that are updated. */
  @Param("10000000")
  public int parameters;

  private Numbers numbers;

  /** JMH makes one. */
  public Adamw() {}

  @Override
  void prepare(Numbers made) {
    numbers = made;
  }

  @Override
  void release() {
    numbers = null;
  }

  @Override
  Side side(String name) {
    return switch (name) {
      case Peers.RORA -> new Ours();
      case Peers.LIBTORCH -> new Theirs();
      default -> throw Peers.unknown(name, Peers.RORA, Peers.LIBTORCH);
    };
  }

  /** The operator. */
  @Benchmark
  public void run() {
    call();
  }

  private final class Ours implements Side {
    private final RoraContext context = RoraContext.open("cpu", Peers.threads());
    private final FloatArray values = context.floats(parameters);
    private final FloatArray gradients = context.floats(parameters);
    private final FloatArray m = context.floats(parameters);
    private final FloatArray v = context.floats(parameters);
    private final AdamwStep step = new AdamwStep();

    Ours() {
      step.learningRate(RATE);
      reset();
    }

    @Override
    public void run() {
      context.adamw(step, values, gradients, m, v);
    }

    // Moments that decay for hundreds of calls would become subnormal, and slow.
    @Override
    public void reset() {
      m.fill(0);
      v.fill(0);
      gradients.write(0, numbers.array(parameters, 2, 1), 0, parameters);
    }

    @Override
    public Map<String, float[]> results() {
      values.fill(0); // so that they are the update, and nothing hides it
      reset();
      run();
      float[] found = new float[parameters];
      values.read(0, found, 0, parameters);
      return Map.of("update", found);
    }

    @Override
    public void close() {
      context.close();
    }
  }

  private final class Theirs implements Side {
    // The kernel has no binding for the JVM but this language. The lists are returned, because what
    // changes in lists that nobody reads is taken for dead code.
    private static final String FUSED =
        """
        def step(p: Tensor, g: Tensor, m: Tensor, v: Tensor, n: Tensor) -> List[Tensor]:
          P = [p]
          M = [m]
          V = [v]
          torch._fused_adamw_(P, [g], M, V, [], [n], lr=1e-3, beta1=0.9, beta2=0.999,
                              weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False)
          return P + M + V + [g.zero_()]
        """;

    private final CompilationUnit compiled;
    private final Function function;
    private final Tensor[] tensors = new Tensor[5];

    Theirs() {
      Torch.open();
      compiled = torch.compile(FUSED);
      function = compiled.get_functions().get(0);
      for (int i = 0; i < 4; i++) {
        tensors[i] = torch.zeros(parameters);
      }
      tensors[4] = torch.ones(1).view(new long[0]);
      reset();
    }

    @Override
    public void run() {
      try (IValueVector stack = new IValueVector()) {
        for (Tensor tensor : tensors) {
          try (IValue value = new IValue(tensor)) {
            stack.push_back(value);
          }
        }
        function.run(stack);
      }
    }

    @Override
    public void reset() {
      tensors[2].zero_();
      tensors[3].zero_();
      Torch.fill(tensors[1], numbers.array(parameters, 2, 1));
    }

    @Override
    public Map<String, float[]> results() {
      tensors[0].zero_();
      reset();
      run();
      return Map.of("update", Torch.array(tensors[0]));
    }

    @Override
    public void close() {
      for (Tensor tensor : tensors) {
        tensor.close();
      }
      compiled.close();
    }
  }
}
