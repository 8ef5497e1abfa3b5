import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.function.Function;

/**
 * Predicts, by a roofline model, what the CUDA kernels take at LLaMA3-8B's shapes, in bf16 with an
 * adapter on all seven linear layers. Nothing is measured. docs/gpu.md explains the columns.
 *
 * <pre>java benchmarks/GpuModel.java [TOKENS [RANK [DOCUMENT]]]</pre>
 *
 * <p>The tokens are documents of DOCUMENT tokens behind each other, and all have a label.
 */
public final class GpuModel {
  private static final double REACH_PRODUCT = 0.80; // of what mma.sync can do
  private static final double REACH_ATTENTION = 0.55; // exponentials stand between its products
  private static final double REACH_MEMORY = 0.83; // of the memory's bandwidth

  private static final int HIDDEN = 4096;
  private static final int KEYS = 1024; // 8 heads
  private static final int INNER = 14336;
  private static final int VOCABULARY = 128256;
  private static final int LAYERS = 32;
  private static final int HEADS = 32;
  private static final int HEAD = 128;

  /**
   * Peaks as the maker states them, dense bf16 with fp32 sums; mmaShare is what of it mma.sync can
   * reach, l2 a guess.
   */
  private record Gpu(
      String name,
      double teraflops,
      double mmaShare,
      double gigabytes,
      double l2,
      int processors,
      int sharedKb) {
    double flops(double reach) {
      return teraflops * 1e12 * mmaShare * reach;
    }
  }

  private static final List<Gpu> GPUS =
      List.of(
          new Gpu("A100 SXM 80 GB", 312, 1, 2039, 4500, 108, 163),
          new Gpu("H100 SXM", 989, 0.62, 3352, 5500, 132, 227),
          new Gpu("RTX 4090", 165, 1, 1008, 4500, 128, 99));

  /** What a kernel costs on one GPU: operations in the time of a full chip, bytes, and its tile. */
  private record Cost(double busyFlop, double l2Bytes, double reach, String tile) {}

  private record Kernel(String name, int times, double flop, double bytes, Function<Gpu, Cost> on) {
    double seconds(Gpu gpu) {
      Cost cost = on.apply(gpu);
      return Math.max(compute(gpu, cost), Math.max(memory(gpu), l2(gpu, cost)));
    }

    /** Seconds, tile and what binds: computing, memory or the L2 cache. */
    String cell(Gpu gpu) {
      Cost cost = on.apply(gpu);
      double seconds = seconds(gpu);
      String bound = seconds == compute(gpu, cost) ? "c" : seconds == memory(gpu) ? "m" : "l";
      return format("%9.0f %-4s %s", seconds * 1e6, cost.tile, bound);
    }

    private static double compute(Gpu gpu, Cost cost) {
      return cost.busyFlop / gpu.flops(cost.reach);
    }

    private double memory(Gpu gpu) {
      return bytes / (gpu.gigabytes * 1e9 * REACH_MEMORY);
    }

    private static double l2(Gpu gpu, Cost cost) {
      return cost.l2Bytes / (gpu.l2 * 1e9);
    }
  }

  /** An output of a product and the lengths of its segments. */
  private record Part(long m, long n, long... segments) {
    long flop() {
      long k = 0;
      for (long segment : segments) {
        k += segment;
      }
      return 2 * m * n * k;
    }

    /** In steps of so many: an incomplete one counts whole. */
    long length(long step) {
      long k = 0;
      for (long segment : segments) {
        k += ceil(segment, step) * step;
      }
      return k;
    }
  }

  /** As native/cuda/product_launch.h has them. */
  private enum Tile {
    LARGE("L", 128, 256, 64, 144),
    BASE("B", 128, 128, 32, 64),
    SMALL("S", 64, 64, 64, 64);

    final String letter;
    final long m;
    final long n;
    final long k;
    final int sharedKb;

    Tile(String letter, long m, long n, long k, int sharedKb) {
      this.letter = letter;
      this.m = m;
      this.n = n;
      this.k = k;
      this.sharedKb = sharedKb;
    }

    long count(List<Part> parts) {
      long rows = 0;
      long columns = 0;
      for (Part part : parts) {
        rows = Math.max(rows, ceil(part.m, m));
        columns += ceil(part.n, n);
      }
      return rows * columns;
    }
  }

  private final long tokens;
  private final long rank;
  private final long document;
  private final List<Kernel> layer = new ArrayList<>();
  private final List<Kernel> rest = new ArrayList<>();

  private GpuModel(long tokens, long rank, long document) {
    this.tokens = tokens;
    this.rank = rank;
    this.document = document;
  }

  public static void main(String[] arguments) {
    long[] value = {4096, 64, 4096};
    for (int i = 0; i < arguments.length; i++) {
      value[i] = Long.parseLong(arguments[i]);
    }
    if (value[0] % value[2] != 0 || value[2] % 128 != 0 || value[1] % 8 != 0) {
      throw new IllegalArgumentException(
          "TOKENS must be a multiple of DOCUMENT, that of 128, RANK of 8");
    }
    GpuModel model = new GpuModel(value[0], value[1], value[2]);
    model.fill();
    model.print();
  }

  // --- The kernels of a step.

  private void fill() {
    layer("rmsnorm forward", 2, 4 * tokens * HIDDEN);
    linear("q/k/v", HIDDEN, HIDDEN, KEYS, KEYS);
    layer("rope, forward and back", 2, 4 * tokens * (HIDDEN + KEYS));
    attention();
    linear("o", HIDDEN, HIDDEN);
    linear("gate/up", HIDDEN, INNER, INNER);
    layer("swiglu forward", 1, 6 * tokens * INNER);
    layer("swiglu backward", 1, 10 * tokens * INNER);
    linear("down", INNER, HIDDEN);
    layer("rmsnorm backward", 2, 8 * tokens * HIDDEN);
    head();
    long parameters = LAYERS * rank * (4L * HIDDEN + 2 * (HIDDEN + KEYS) + 3 * (HIDDEN + INNER));
    stream(rest, "gradient norm", 1, 4 * parameters);
    stream(rest, "AdamW", 1, 32 * parameters);
  }

  /** A group of projections with adapters, forward and backward. */
  private void linear(String name, long in, long... outs) {
    List<Part> forward = new ArrayList<>();
    List<Part> gradients = new ArrayList<>();
    List<Part> sumsA = new ArrayList<>();
    List<Part> sumsB = new ArrayList<>();
    long out = 0;
    long[] segments = new long[2 * outs.length];
    for (int i = 0; i < outs.length; i++) {
      out += outs[i];
      forward.add(new Part(tokens, outs[i], in, rank));
      gradients.add(new Part(tokens, rank, outs[i]));
      sumsA.add(new Part(rank, in, tokens));
      sumsB.add(new Part(outs[i], rank, tokens));
      segments[2 * i] = outs[i];
      segments[2 * i + 1] = rank;
    }
    long ranks = rank * outs.length;
    long x = 2 * tokens * in;
    long y = 2 * tokens * out;
    long h = 2 * tokens * ranks;
    long a = ranks * in;
    long b = rank * out;
    long residual = outs.length == 1 ? y : 0;
    layer(name + ": bf16 copies of A, B", 2, 6 * (a + b));
    layer(name + ": H' = s X A^T", List.of(new Part(tokens, ranks, in)), false, x + 2 * a + h);
    layer(
        name + ": Y = [X|H'] [W|B]^T", forward, true, x + 2 * in * out + h + 2 * b + y + residual);
    layer(name + ": G' = s dY B", gradients, false, y + 2 * b + h);
    layer(name + ": dA", sumsA, false, h + x + 8 * a);
    layer(name + ": dB", sumsB, false, y + h + 8 * b);
    layer(
        name + ": dX = [dY|G'] [W;A]",
        List.of(new Part(tokens, in, segments)),
        true,
        y + 2 * in * out + h + 2 * a + x);
  }

  private void attention() {
    long sequences = tokens / document * HEADS;
    long blocks = document / 64;
    double tiles = sequences * blocks * (blocks + 1) / 2.0; // of 64 queries x 64 keys
    long q = 2 * tokens * HIDDEN;
    long k = 2 * tokens * KEYS;
    attention("attention forward", tiles, 2, 64, 64, 2 * q + 2 * k);
    blocks = document / 128;
    double wide = sequences * blocks * (blocks + 1) / 2.0 * 4; // of 128 x 32
    layer("attention backward: prepare", 1, 2 * q);
    attention("attention backward: dK, dV", wide, 4, 128, 32, 2 * q + 4 * k);
    attention("attention backward: dQ", wide, 3, 128, 32, 3 * q + 2 * k);
  }

  private void attention(
      String name, double tiles, int products, long rows, long streamed, double bytes) {
    double flop = tiles * products * 2 * rows * streamed * HEAD;
    double l2 = tiles * 2 * streamed * HEAD * 2;
    layer.add(new Kernel(name, 1, flop, bytes, gpu -> new Cost(flop, l2, REACH_ATTENTION, "")));
  }

  /** The head, the loss and their gradient, 1024 rows of logits at a time. */
  private void head() {
    long rows = Math.min(tokens, 1024);
    int chunks = (int) ceil(tokens, rows);
    long logits = rows * VOCABULARY;
    long weight = 2L * HIDDEN * VOCABULARY;
    long x = 2 * rows * HIDDEN;
    rest.add(
        product(
            "head: logits",
            chunks,
            List.of(new Part(rows, VOCABULARY, HIDDEN)),
            true,
            x + weight + 4 * logits));
    stream(rest, "head: cross entropy", chunks, 12 * logits);
    stream(rest, "head: gradient to bf16", chunks, 6 * logits);
    rest.add(
        product(
            "head: dX",
            chunks,
            List.of(new Part(rows, HIDDEN, VOCABULARY)),
            true,
            2 * logits + weight + x));
    stream(rest, "head: rows gathered, scattered", 2, 4 * tokens * HIDDEN);
  }

  // --- What they cost.

  private void layer(String name, int times, long bytes) {
    stream(layer, name, times, bytes);
  }

  private void layer(String name, List<Part> parts, boolean wide, long bytes) {
    layer.add(product(name, 1, parts, wide, bytes));
  }

  private static void stream(List<Kernel> kernels, String name, int times, long bytes) {
    kernels.add(new Kernel(name, times, 0, bytes, gpu -> new Cost(0, 0, 1, "")));
  }

  private static Kernel product(
      String name, int times, List<Part> parts, boolean wide, long bytes) {
    double flop = parts.stream().mapToDouble(Part::flop).sum();
    return new Kernel(name, times, flop, bytes, gpu -> cost(parts, wide, gpu));
  }

  /**
   * The busiest multiprocessor computes one block more than the others, if they do not come out
   * even; each block reads its tiles of both operands; slices write and read their sums.
   */
  private static Cost cost(List<Part> parts, boolean wide, Gpu gpu) {
    Tile tile = choose(parts, wide, gpu);
    long slices = tile == Tile.SMALL ? slices(parts, gpu) : 1;
    double blocks = 0;
    double longest = 0;
    double l2 = 0;
    for (Part part : parts) {
      long tiles = ceil(part.m, tile.m) * ceil(part.n, tile.n);
      blocks += tiles * slices;
      longest = Math.max(longest, ceil(part.length(16), slices));
      l2 += 2.0 * tiles * (tile.m + tile.n) * part.length(16);
      l2 += slices == 1 ? 0 : 8.0 * slices * part.m * part.n;
    }
    double rounds = Math.ceil(blocks / gpu.processors);
    double busy = 2.0 * rounds * gpu.processors * tile.m * tile.n * longest;
    return new Cost(busy, l2, REACH_PRODUCT, tile.letter + (slices == 1 ? "" : slices));
  }

  private static Tile choose(List<Part> parts, boolean wide, Gpu gpu) {
    for (Tile tile : List.of(Tile.LARGE, Tile.BASE)) {
      if (wide && tile.sharedKb <= gpu.sharedKb && tile.count(parts) >= gpu.processors) {
        return tile;
      }
    }
    return Tile.SMALL;
  }

  private static long slices(List<Part> parts, Gpu gpu) {
    long tiles = Tile.SMALL.count(parts);
    long steps = 0;
    for (Part part : parts) {
      steps = Math.max(steps, part.length(Tile.SMALL.k) / Tile.SMALL.k);
    }
    if (tiles >= gpu.processors) {
      return 1;
    }
    return Math.max(1, Math.min(16, Math.min(2 * gpu.processors / tiles, steps / 4)));
  }

  private static long ceil(long a, long b) {
    return (a + b - 1) / b;
  }

  // --- The tables.

  private void print() {
    print(
        "PREDICTED, not measured: bf16, %d tokens in documents of %d, rank %d, us each",
        tokens, document, rank);
    StringBuilder head =
        new StringBuilder(format("%-32s%3s%8s%7s%7s", "", "", "GFLOP", "MB", "FLOP/B"));
    for (Gpu gpu : GPUS) {
      head.append(format("%17s", gpu.name));
    }
    print("%s", head);
    for (List<Kernel> kernels : List.of(layer, rest)) {
      for (Kernel kernel : kernels) {
        print("%s", row(kernel));
      }
      print("");
    }
    print("%s", sum("a layer, ms", 1, 0));
    print("%s", sum("a step, ms", LAYERS, 1));
  }

  private static String row(Kernel kernel) {
    StringBuilder row =
        new StringBuilder(
            format(
                "%-32s%3s%8.1f%7.0f%7.0f",
                kernel.name,
                kernel.times == 1 ? "" : "x" + kernel.times,
                kernel.flop / 1e9,
                kernel.bytes / 1e6,
                kernel.flop / kernel.bytes));
    for (Gpu gpu : GPUS) {
      row.append(format("%17s", kernel.cell(gpu)));
    }
    return row.toString();
  }

  private String sum(String name, int layers, int others) {
    StringBuilder row = new StringBuilder(format("%-57s", name));
    for (Gpu gpu : GPUS) {
      double seconds = layers * seconds(layer, gpu) + others * seconds(rest, gpu);
      row.append(format("%17s", format("%9.1f       ", seconds * 1e3)));
    }
    return row.toString();
  }

  private static double seconds(List<Kernel> kernels, Gpu gpu) {
    return kernels.stream().mapToDouble(kernel -> kernel.times * kernel.seconds(gpu)).sum();
  }

  private static void print(String pattern, Object... values) {
    System.out.println(format(pattern, values).stripTrailing());
  }

  private static String format(String pattern, Object... values) {
    return String.format(Locale.ROOT, pattern, values);
  }
}
