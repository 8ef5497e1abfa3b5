package io.rora.kernels;

import static io.rora.kernels.Matrices.assertWithin;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.rora.kernels.LinearSample.Expected;
import java.util.Arrays;
import java.util.function.UnaryOperator;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

class LinearGroupTest {
  private static final int TOKENS = 70;
  private static final int IN = 19;

  private RoraContext context;

  @BeforeEach
  void open() {
    context = RoraContext.open("cpu", 2);
  }

  @AfterEach
  void close() {
    context.close();
  }

  /** A projection with an adapter of its own, and the adapter's gradients. */
  private final class Projection {
    final Weight weight;
    final FloatArray aGradient;
    final FloatArray bGradient;
    final LowRank adapter;

    Projection(LinearSample sample) {
      weight = sample.weight(context);
      aGradient = context.floats(sample.a().length);
      bGradient = context.floats(sample.b().length);
      adapter =
          context.lowRank(
              sample.out(),
              sample.in(),
              sample.rank(),
              sample.scaling(),
              floats(sample.a()),
              floats(sample.b()),
              null,
              aGradient,
              bGradient,
              null);
    }
  }

  @Test
  void twoProjectionsMatchDoubleReference() {
    checkTwo(
        LinearSample.random(TOKENS, IN, 7, 3, 11),
        LinearSample.random(TOKENS, IN, 12, 4, 12),
        UnaryOperator.identity());
  }

  @Test
  void twoProjectionsAreExactOnSmallIntegers() {
    checkTwo(
        LinearSample.integers(TOKENS, IN, 7, 3, 13),
        LinearSample.integers(TOKENS, IN, 12, 4, 14),
        LinearSample::exact);
  }

  private void checkTwo(LinearSample first, LinearSample other, UnaryOperator<Expected> tolerance) {
    // Both read the input of the first.
    LinearSample second = other.withInput(first.x());
    Projection p = new Projection(first);
    Projection q = new Projection(second);
    LinearGroup group = context.linear(2);
    group.setWeight(0, p.weight, null, null);
    group.setWeight(1, q.weight, null, null);
    group.setAdapter(0, p.adapter);
    group.setAdapter(1, q.adapter);
    assertEquals(0, group.column(0));
    assertEquals(8, group.column(1)); // 7 rounded up to even
    assertEquals(20, group.column(2));
    assertEquals(4 + 4, group.tail());

    Activation x = activation(IN, group.tail(), first.x());
    Activation y = context.activation(DataType.F32, TOKENS, 20, 0);
    group.forward(null, x, null, y);
    check("first y", tolerance.apply(first.y()), read(y, 0, 7));
    check("second y", tolerance.apply(second.y()), read(y, 8, 12));

    Activation dy = context.activation(DataType.F32, TOKENS, 20, group.tail());
    dy.resize(TOKENS);
    dy.clear();
    dy.write(0, 7, first.dy());
    dy.write(8, 12, second.dy());
    Activation dx = context.activation(DataType.F32, TOKENS, IN, 0);
    dx.resize(TOKENS);
    group.backward(null, x, dy, false, dx);
    Expected dxSum = plus(first.dx(), second.dx());
    check("dx", tolerance.apply(dxSum), read(dx, 0, IN));
    check("first dA", tolerance.apply(first.dA()), all(p.aGradient));
    check("first dB", tolerance.apply(first.dB()), all(p.bGradient));
    check("second dA", tolerance.apply(second.dA()), all(q.aGradient));
    check("second dB", tolerance.apply(second.dB()), all(q.bGradient));

    group.backward(null, x, dy, true, dx);
    check("dx added to", tolerance.apply(plus(dxSum, dxSum)), read(dx, 0, IN));
    check("dA added to", tolerance.apply(plus(first.dA(), first.dA())), all(p.aGradient));
  }

  @Test
  void biasResidualAndDetachedAdapter() {
    LinearSample s = LinearSample.integers(TOKENS, IN, 6, 2, 15);
    Projection p = new Projection(s);
    float[] bias = {1, 2, 3, 4, 5, 6};
    FloatArray biasGradient = context.floats(6);
    LinearGroup group = context.linear(1);
    group.setWeight(0, p.weight, floats(bias), biasGradient);
    Activation x = activation(IN, 2, s.x());
    Activation plain = context.activation(DataType.F32, TOKENS, 6, 0);
    group.forward(null, x, null, plain);
    Activation y = context.activation(DataType.F32, TOKENS, 6, 0);
    y.copyFrom(plain);
    group.forward(null, x, y, y);
    float[] once = read(plain, 0, 6);
    assertArrayEquals(Matrices.integersTimes(once, 2), read(y, 0, 6));

    group.setAdapter(0, p.adapter);
    group.forward(null, x, null, y);
    double[] expected = s.y().values();
    for (int i = 0; i < expected.length; i++) {
      expected[i] += bias[i % 6];
    }
    assertWithin("y", read(y, 0, 6), expected, 0);
    group.setAdapter(0, null);
    assertEquals(0, group.tail());
    group.forward(null, x, null, y);
    assertArrayEquals(once, read(y, 0, 6), "detaching leaves a trace");

    Activation dy = activation(6, 2, s.dy());
    group.backward(null, x, dy, false, null);
    double[] sums = new double[6];
    for (int i = 0; i < s.dy().length; i++) {
      sums[i % 6] += s.dy()[i];
    }
    assertWithin("bias gradient", all(biasGradient), sums, 0);
  }

  @Test
  void trainedWeightReceivesItsGradient() {
    LinearSample s = LinearSample.integers(TOKENS, IN, 6, 2, 16);
    Weight weight = s.weight(context);
    FloatArray gradient = context.floats(6 * IN);
    weight.train(context.floats(6 * IN), gradient);
    LinearGroup group = context.linear(1);
    group.setWeight(0, weight, null, null);
    Activation x = activation(IN, 0, s.x());
    group.backward(null, x, activation(6, 0, s.dy()), false, null);
    double[] dyT = Matrices.transpose(Matrices.widen(s.dy()), TOKENS, 6);
    double[] expected = Matrices.multiply(dyT, Matrices.widen(s.x()), 6, TOKENS, IN);
    assertWithin("dW", all(gradient), expected, 0);
  }

  @Test
  void frozenRanksReceiveNoGradient() {
    LinearSample s = LinearSample.integers(TOKENS, IN, 6, 4, 17);
    Projection p = new Projection(s);
    p.adapter.trainRank(2);
    LinearGroup group = context.linear(1);
    group.setWeight(0, p.weight, null, null);
    group.setAdapter(0, p.adapter);
    Activation x = activation(IN, 4, s.x());
    Activation y = context.activation(DataType.F32, TOKENS, 6, 0);
    group.forward(null, x, null, y);
    group.backward(null, x, activation(6, 4, s.dy()), false, null);
    double[] dA = s.dA().values();
    Arrays.fill(dA, 2 * IN, 4 * IN, 0);
    assertWithin("dA", all(p.aGradient), dA, 0);
    double[] dB = s.dB().values();
    for (int i = 0; i < dB.length; i++) {
      dB[i] = i % 4 < 2 ? dB[i] : 0;
    }
    assertWithin("dB", all(p.bGradient), dB, 0);
  }

  @Test
  void doraScalesTheRowsOfV() {
    LinearSample s = LinearSample.random(5, 3, 2, 1, 18);
    Weight weight = s.weight(context);
    FloatArray magnitude = floats(new float[] {2, 3});
    LowRank dora =
        context.lowRank(
            2, 3, 1, s.scaling(), floats(s.a()), floats(s.b()), magnitude, null, null, null);
    dora.refresh(weight);
    double[] update = Matrices.multiply(Matrices.widen(s.b()), Matrices.widen(s.a()), 2, 1, 3);
    double[] v = Matrices.add(Matrices.widen(s.w()), Matrices.scale(update, s.scaling()));
    double[] norms = {norm(v, 0), norm(v, 3)};
    float[] found = new float[2];
    dora.norms(found);
    assertWithin("norms", found, norms, 1e-6);

    LinearGroup group = context.linear(1);
    group.setWeight(0, weight, null, null);
    group.setAdapter(0, dora);
    Activation x = context.activation(DataType.F32, 5, 3, group.tail());
    x.resize(5);
    x.write(0, 3, s.x());
    Activation y = context.activation(DataType.F32, 5, 2, 0);
    group.forward(null, x, null, y);
    double[] expected =
        Matrices.multiply(Matrices.widen(s.x()), Matrices.transpose(v, 2, 3), 5, 3, 2);
    for (int i = 0; i < expected.length; i++) {
      expected[i] *= (i % 2 == 0 ? 2 : 3) / norms[i % 2];
    }
    float[] values = new float[10];
    y.read(0, 5, 0, 2, values);
    assertWithin("y", values, expected, 1e-5);
  }

  @Test
  void dropoutFollowsSeedAndStep() {
    LinearSample s = LinearSample.random(TOKENS, IN, 6, 2, 19);
    Projection p = new Projection(s);
    LinearGroup group = context.linear(1);
    group.setWeight(0, p.weight, null, null);
    group.setAdapter(0, p.adapter);
    Batch batch = context.batch(TOKENS);
    batch.fill(TOKENS);
    Activation x = activation(IN, 2, s.x());
    float[] without = output(group, batch, x);
    group.setDropout(0.5f, 1, 1, 0);
    float[] once = output(group, batch, x);
    assertFalse(Arrays.equals(without, once), "dropout changes nothing");
    assertArrayEquals(once, output(group, batch, x));
    group.setDropout(0.5f, 1, 2, 0);
    assertFalse(Arrays.equals(once, output(group, batch, x)), "the step changes nothing");
    group.setDropout(0, 1, 2, 0);
    assertArrayEquals(without, output(group, null, x));
    assertThrows(RoraException.class, () -> group.setDropout(1, 1, 2, 0));
  }

  @Test
  void whatAGroupRefersToMustBeOpen() {
    LinearSample s = LinearSample.random(TOKENS, IN, 6, 2, 20);
    Projection p = new Projection(s);
    LinearGroup group = context.linear(1);
    Activation x = activation(IN, 2, s.x());
    Activation y = context.activation(DataType.F32, TOKENS, 6, 0);
    assertTrue(
        assertThrows(IllegalStateException.class, () -> group.forward(null, x, null, y))
            .getMessage()
            .contains("no weight"));
    assertThrows(IllegalStateException.class, () -> group.column(1));
    group.setWeight(0, p.weight, null, null);
    group.setAdapter(0, p.adapter);
    group.forward(null, x, null, y);
    p.aGradient.close();
    assertThrows(IllegalStateException.class, () -> group.forward(null, x, null, y));
    group.setAdapter(0, null);
    group.forward(null, x, null, y);
    p.weight.close();
    assertThrows(IllegalStateException.class, () -> group.forward(null, x, null, y));
  }

  @Test
  void brokenArgumentsAreRefused() {
    assertThrows(RoraException.class, () -> context.linear(5));
    assertThrows(RoraException.class, () -> context.linear(0));
    LinearGroup group = context.linear(2);
    Weight weight = context.weight(DataType.F32, 6, IN);
    assertThrows(IllegalArgumentException.class, () -> group.setWeight(2, weight, null, null));
    assertThrows(IllegalArgumentException.class, () -> group.setAdapter(-1, null));
    assertThrows(
        IllegalArgumentException.class, () -> group.setWeight(0, weight, context.floats(5), null));
    FloatArray a = context.floats(2 * IN);
    FloatArray b = context.floats(12);
    assertThrows(
        IllegalArgumentException.class,
        () -> context.lowRank(6, IN, 2, 1, a, a, null, null, null, null));
    assertThrows(
        IllegalArgumentException.class,
        () -> context.lowRank(6, IN, 2, 1, a, null, null, null, null, null));
    assertThrows(
        RoraException.class,
        () -> context.lowRank(6, IN, 2, Double.NaN, a, b, null, null, null, null));
  }

  private float[] output(LinearGroup group, Batch batch, Activation x) {
    Activation y = context.activation(DataType.F32, TOKENS, 6, 0);
    group.forward(batch, x, null, y);
    float[] values = read(y, 0, 6);
    y.close();
    return values;
  }

  private FloatArray floats(float[] values) {
    FloatArray array = context.floats(values.length);
    array.write(0, values, 0, values.length);
    return array;
  }

  private Activation activation(int width, long tail, float[] values) {
    Activation activation = context.activation(DataType.F32, TOKENS, width, tail);
    activation.resize(TOKENS);
    activation.write(0, width, values);
    return activation;
  }

  private static float[] read(Activation activation, int column, int columns) {
    float[] values = new float[TOKENS * columns];
    activation.read(0, TOKENS, column, columns, values);
    return values;
  }

  private static float[] all(FloatArray array) {
    float[] values = new float[(int) array.length()];
    array.read(0, values, 0, values.length);
    return values;
  }

  private static void check(String what, Expected expected, float[] found) {
    assertWithin(what, found, expected.values(), expected.bound());
  }

  private static Expected plus(Expected a, Expected b) {
    return new Expected(
        Matrices.add(a.values(), b.values()),
        Matrices.scale(Matrices.add(a.bound(), b.bound()), 1.5));
  }

  private static double norm(double[] v, int from) {
    return Math.sqrt(v[from] * v[from] + v[from + 1] * v[from + 1] + v[from + 2] * v[from + 2]);
  }
}
