package io.rora.kernels;

import static io.rora.kernels.Matrices.EPSILON;
import static io.rora.kernels.Matrices.add;
import static io.rora.kernels.Matrices.magnitudes;
import static io.rora.kernels.Matrices.multiply;
import static io.rora.kernels.Matrices.scale;
import static io.rora.kernels.Matrices.transpose;
import static io.rora.kernels.Matrices.widen;

import java.nio.ByteBuffer;
import java.util.Arrays;
import java.util.Random;

/** One linear layer with its adapter, its inputs, and what double-precision loops make of them. */
record LinearSample(
    int tokens,
    int in,
    int out,
    int rank,
    float scaling,
    float[] x,
    float[] w,
    float[] a,
    float[] b,
    float[] dy) {

  static LinearSample random(int tokens, int in, int out, int rank, long seed) {
    Random random = new Random(seed);
    return new LinearSample(
        tokens,
        in,
        out,
        rank,
        0.75f,
        Matrices.random(random, (long) tokens * in),
        Matrices.random(random, (long) out * in),
        Matrices.random(random, (long) rank * in),
        Matrices.random(random, (long) out * rank),
        Matrices.random(random, (long) tokens * out));
  }

  /** Small integers, so that every sum is exact in float, in any order. */
  static LinearSample integers(int tokens, int in, int out, int rank, long seed) {
    Random random = new Random(seed);
    return new LinearSample(
        tokens,
        in,
        out,
        rank,
        2f,
        Matrices.integers(random, (long) tokens * in, 3),
        Matrices.integers(random, (long) out * in, 3),
        Matrices.integers(random, (long) rank * in, 3),
        Matrices.integers(random, (long) out * rank, 3),
        Matrices.integers(random, (long) tokens * out, 3));
  }

  /** The same with another's input. */
  LinearSample withInput(float[] input) {
    return new LinearSample(tokens, in, out, rank, scaling, input, w, a, b, dy);
  }

  /** A result and how far a float computation may be from it. */
  record Expected(double[] values, double[] bound) {}

  Weight weight(RoraContext context) {
    Weight weight = context.weight(DataType.F32, out, in);
    weight.write(0, out, DataType.F32, direct(w));
    return weight;
  }

  static ByteBuffer direct(float[] values) {
    ByteBuffer buffer = Staging.direct(values.length * Float.BYTES);
    buffer.asFloatBuffer().put(values);
    return buffer;
  }

  /** A matrix whose padding is NaN. */
  static FloatMatrix padded(RoraContext context, int rows, int columns, float[] values) {
    FloatMatrix matrix = context.matrix(rows, columns, columns + 3);
    matrix.memory().fill(Float.NaN);
    if (values != null) {
      matrix.write(values);
    }
    return matrix;
  }

  Expected h() {
    double[] values = scale(multiply(widen(x), aT(), tokens, in, rank), scaling);
    double[] sums = scale(multiply(size(x), magnitudes(aT()), tokens, in, rank), scaling);
    return new Expected(values, scale(sums, (in + 3) * EPSILON));
  }

  Expected y() {
    double[] base = multiply(widen(x), wT(), tokens, in, out);
    double[] update = multiply(h().values, bT(), tokens, rank, out);
    double[] baseSums = multiply(size(x), magnitudes(wT()), tokens, in, out);
    double[] hSums = scale(multiply(size(x), magnitudes(aT()), tokens, in, rank), scaling);
    double[] updateSums = multiply(hSums, magnitudes(bT()), tokens, rank, out);
    return new Expected(
        add(base, update), scale(add(baseSums, updateSums), (in + rank + 5) * EPSILON));
  }

  Expected dB() {
    double[] dyT = transpose(widen(dy), tokens, out);
    double[] hSums = scale(multiply(size(x), magnitudes(aT()), tokens, in, rank), scaling);
    return new Expected(
        multiply(dyT, h().values, out, tokens, rank),
        scale(multiply(magnitudes(dyT), hSums, out, tokens, rank), (in + tokens + 5) * EPSILON));
  }

  Expected dA() {
    double[] g = scale(multiply(widen(dy), widen(b), tokens, out, rank), scaling);
    double[] gSums = scale(multiply(size(dy), size(b), tokens, out, rank), scaling);
    return new Expected(
        multiply(transpose(g, tokens, rank), widen(x), rank, tokens, in),
        scale(
            multiply(transpose(gSums, tokens, rank), size(x), rank, tokens, in),
            (out + tokens + 5) * EPSILON));
  }

  Expected dx() {
    double[] g = scale(multiply(widen(dy), widen(b), tokens, out, rank), scaling);
    double[] gSums = scale(multiply(size(dy), size(b), tokens, out, rank), scaling);
    double[] sums =
        add(
            multiply(size(dy), size(w), tokens, out, in),
            multiply(gSums, size(a), tokens, rank, in));
    return new Expected(
        add(
            multiply(widen(dy), widen(w), tokens, out, in),
            multiply(g, widen(a), tokens, rank, in)),
        scale(sums, (out + rank + 5) * EPSILON));
  }

  /** The same expectation without tolerance. */
  static Expected exact(Expected expected) {
    double[] zeros = new double[expected.bound.length];
    Arrays.fill(zeros, 0);
    return new Expected(expected.values, zeros);
  }

  private double[] wT() {
    return transpose(widen(w), out, in);
  }

  private double[] aT() {
    return transpose(widen(a), rank, in);
  }

  private double[] bT() {
    return transpose(widen(b), out, rank);
  }

  private static double[] size(float[] values) {
    return magnitudes(widen(values));
  }
}
