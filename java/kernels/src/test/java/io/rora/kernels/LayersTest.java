package io.rora.kernels;

import static io.rora.kernels.Matrices.assertWithin;
import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.FloatBuffer;
import java.util.Random;
import java.util.function.BiConsumer;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** That each operator gets its arguments in the right places; the native tests go into depth. */
class LayersTest {
  private static final int TOKENS = 67;
  private static final float EPS = 1e-5f;

  private RoraContext context;
  private Random random;

  @BeforeEach
  void open() {
    context = RoraContext.open("cpu", 2);
    random = new Random(7);
  }

  @AfterEach
  void close() {
    context.close();
  }

  @Test
  void embeddingLooksUpAndCollects() {
    Weight table = context.weight(DataType.F32, 5, 3);
    float[] rows = Matrices.integers(random, 15, 9);
    table.write(0, 5, DataType.F32, LinearSample.direct(rows));
    Batch batch = documents(new int[] {TOKENS});
    for (int token = 0; token < TOKENS; token++) {
      batch.ids().put(token, token % 4);
    }
    batch.fill(TOKENS);
    Activation y = context.activation(DataType.F32, TOKENS, 3, 0);
    Layers.embeddingForward(table, batch, y);
    float[] found = read(y);
    float[] dy = Matrices.integers(random, TOKENS * 3, 4);
    double[] sums = new double[15];
    for (int i = 0; i < found.length; i++) {
      int cell = i / 3 % 4 * 3 + i % 3;
      assertEquals(rows[cell], found[i], "at " + i);
      sums[cell] += dy[i];
    }
    FloatArray gradient = context.floats(15);
    table.train(context.floats(15), gradient);
    Layers.embeddingBackward(table, batch, activation(3, dy));
    assertWithin("gradient", all(gradient), sums, 0);
    batch.ids().put(3, 5);
    batch.fill(TOKENS);
    assertThrows(RoraException.class, () -> Layers.embeddingForward(table, batch, y));
  }

  @Test
  void rmsNormMatchesItsFormulaAndGradient() {
    float[] x = Matrices.random(random, TOKENS * 10);
    float[] w = Matrices.random(random, 10);
    FloatArray weight = floats(w);
    Activation y = context.activation(DataType.F32, TOKENS, 10, 0);
    Layers.rmsNormForward(activation(10, x), weight, EPS, y);
    double[] expected = new double[x.length];
    for (int token = 0; token < TOKENS; token++) {
      double squares = 0;
      for (int i = 0; i < 10; i++) {
        squares += (double) x[token * 10 + i] * x[token * 10 + i];
      }
      for (int i = 0; i < 10; i++) {
        expected[token * 10 + i] = x[token * 10 + i] * w[i] / Math.sqrt(squares / 10 + EPS);
      }
    }
    assertWithin("y", read(y), expected, 1e-6);

    float[] dy = Matrices.random(random, TOKENS * 10);
    FloatArray weightGradient = context.floats(10);
    Activation dx = activation(10, new float[TOKENS * 10]);
    Layers.rmsNormBackward(activation(10, x), weight, EPS, activation(10, dy), weightGradient, dx);
    checkSlope(x, dy, read(dx), (in, out) -> Layers.rmsNormForward(in, weight, EPS, out), 10);
    double[] dw = new double[10];
    for (int i = 0; i < x.length; i++) {
      dw[i % 10] += dy[i] * expected[i] / w[i % 10];
    }
    assertWithin("dw", all(weightGradient), dw, 1e-4);
    assertThrows(
        IllegalArgumentException.class, () -> Layers.rmsNormForward(y, context.floats(9), EPS, y));
  }

  @Test
  void swigluMatchesItsFormulaAndGradient() {
    int up = 6; // columns 0-4 gate, 5 empty, 6-10 up
    float[] x = Matrices.random(random, TOKENS * 12);
    Activation y = context.activation(DataType.F32, TOKENS, 5, 0);
    Layers.swigluForward(activation(12, x), up, y);
    double[] expected = new double[TOKENS * 5];
    for (int i = 0; i < expected.length; i++) {
      double gate = x[i / 5 * 12 + i % 5];
      expected[i] = gate / (1 + Math.exp(-gate)) * x[i / 5 * 12 + up + i % 5];
    }
    assertWithin("y", read(y), expected, 1e-6);

    float[] dy = Matrices.random(random, TOKENS * 5);
    Activation gradient = activation(12, new float[TOKENS * 12]);
    Layers.swigluBackward(activation(12, x), up, activation(5, dy), gradient);
    checkSlope(x, dy, read(gradient), (in, out) -> Layers.swigluForward(in, up, out), 12);
  }

  @Test
  void ropeRotatesPairsAndBack() {
    Batch batch = documents(new int[] {3, TOKENS - 3});
    float[] frequencies = {1, 0.25f};
    Rope rope = context.rope(TOKENS, 4, frequencies);
    float[] x = Matrices.random(random, TOKENS * 10);
    Activation activation = activation(10, x);
    rope.apply(batch, 2, 2, false, activation);
    double[] expected = Matrices.widen(x);
    for (int token = 0; token < TOKENS; token++) {
      int position = token < 3 ? token : token - 3;
      for (int head = 0; head < 2; head++) {
        for (int i = 0; i < 2; i++) {
          int low = token * 10 + 2 + head * 4 + i;
          double angle = position * (double) frequencies[i];
          expected[low] = x[low] * Math.cos(angle) - x[low + 2] * Math.sin(angle);
          expected[low + 2] = x[low + 2] * Math.cos(angle) + x[low] * Math.sin(angle);
        }
      }
    }
    assertWithin("rotated", read(activation), expected, 1e-5);
    rope.apply(batch, 2, 2, true, activation);
    assertWithin("rotated back", read(activation), Matrices.widen(x), 1e-5);
    assertThrows(IllegalArgumentException.class, () -> context.rope(4, 4, new float[] {1, 2, 3}));
  }

  @Test
  void attentionStaysInItsDocument() {
    Batch batch = documents(new int[] {3, TOKENS - 3});
    Attention attention = context.attention(4, 2, 2, 8, 12);
    float[] x = Matrices.random(random, TOKENS * 16);
    Activation qkv = activation(16, x);
    Activation y = context.activation(DataType.F32, TOKENS, 8, 0);
    FloatArray lse = context.floats(attention.lseLength(TOKENS));
    attention.forward(batch, qkv, lse, y);
    assertWithin("y", read(y), attend(x), 1e-5);

    Activation cache = context.activation(DataType.F32, TOKENS, 8, 0);
    cache.resize(TOKENS);
    Activation cached = context.activation(DataType.F32, TOKENS, 8, 0);
    attention.cached(batch, qkv, cache, cached);
    assertWithin("cached y", read(cached), attend(x), 1e-5);

    float[] dy = Matrices.random(random, TOKENS * 8);
    Activation gradient = context.activation(DataType.F32, TOKENS, 16, 0);
    gradient.resize(TOKENS);
    attention.backward(batch, qkv, y, lse, activation(8, dy), gradient);
    checkSlope(x, dy, read(gradient), (in, out) -> attention.forward(batch, in, null, out), 16);
    assertThrows(
        IllegalArgumentException.class, () -> attention.forward(batch, qkv, context.floats(3), y));
    assertThrows(IllegalArgumentException.class, () -> context.attention(4, 3, 2, 8, 12));
    assertThrows(IllegalArgumentException.class, () -> context.attention(4, 2, 3, 8, 12));
  }

  /** Four query heads of two features on two key heads, documents of 3 and the other tokens. */
  private static double[] attend(float[] x) {
    double[] y = new double[TOKENS * 8];
    for (int token = 0; token < TOKENS; token++) {
      for (int head = 0; head < 4; head++) {
        int q = token * 16 + head * 2;
        double sum = 0;
        double[] weighted = new double[2];
        for (int row = token < 3 ? 0 : 3; row <= token; row++) {
          int k = row * 16 + 8 + head / 2 * 2;
          double score = ((double) x[q] * x[k] + (double) x[q + 1] * x[k + 1]) / Math.sqrt(2);
          sum += Math.exp(score);
          weighted[0] += Math.exp(score) * x[k + 4];
          weighted[1] += Math.exp(score) * x[k + 5];
        }
        y[token * 8 + head * 2] = weighted[0] / sum;
        y[token * 8 + head * 2 + 1] = weighted[1] / sum;
      }
    }
    return y;
  }

  @Test
  void crossEntropyGivesSumTokenLossesAndGradient() {
    int vocabulary = 11;
    float[] w = Matrices.random(random, vocabulary * 4L);
    float[] x = Matrices.random(random, TOKENS * 4);
    Weight head = context.weight(DataType.F32, vocabulary, 4);
    head.write(0, vocabulary, DataType.F32, LinearSample.direct(w));
    Batch batch = documents(new int[] {TOKENS});
    for (int token = 0; token < TOKENS; token += 3) {
      batch.labels().put(token, token % vocabulary);
    }
    batch.fill(TOKENS);
    FloatBuffer tokenLoss = Staging.direct((TOKENS + 2) * Float.BYTES).asFloatBuffer();
    tokenLoss.put(0, -1).put(1, -1).position(2);
    Activation dx = context.activation(DataType.F32, TOKENS, 4, 0);
    double sum = Layers.crossEntropy(head, batch, activation(4, x), 8, tokenLoss, dx);

    double[] logits =
        Matrices.multiply(
            Matrices.widen(x),
            Matrices.transpose(Matrices.widen(w), vocabulary, 4),
            TOKENS,
            4,
            vocabulary);
    double[] dLogits = new double[logits.length];
    double[] losses = new double[TOKENS + 2];
    losses[0] = -1;
    losses[1] = -1;
    double expectedSum = 0;
    for (int token = 0; token < TOKENS; token += 3) {
      double total = 0;
      for (int i = 0; i < vocabulary; i++) {
        total += Math.exp(logits[token * vocabulary + i]);
      }
      int label = token % vocabulary;
      losses[token + 2] = Math.log(total) - logits[token * vocabulary + label];
      expectedSum += losses[token + 2];
      for (int i = 0; i < vocabulary; i++) {
        double p = Math.exp(logits[token * vocabulary + i]) / total;
        dLogits[token * vocabulary + i] = (p - (i == label ? 1 : 0)) / 8;
      }
    }
    assertEquals(expectedSum, sum, 1e-4);
    float[] found = new float[TOKENS + 2];
    tokenLoss.get(0, found);
    assertEquals(2, tokenLoss.position());
    assertWithin("token loss", found, losses, 1e-5);
    double[] expected = Matrices.multiply(dLogits, Matrices.widen(w), TOKENS, vocabulary, 4);
    assertWithin("dx", read(dx), expected, 1e-6);

    assertEquals(sum, Layers.crossEntropy(head, batch, activation(4, x), 8, null, null));
    assertThrows(
        IllegalArgumentException.class,
        () ->
            Layers.crossEntropy(
                head, batch, activation(4, x), 8, FloatBuffer.allocate(TOKENS), null));
  }

  @Test
  void adamwTakesTorchsStep() {
    int count = 1000;
    float[] values = Matrices.random(random, count);
    float[] gradients = Matrices.random(random, count);
    FloatArray v = floats(values);
    FloatArray first = context.floats(count);
    FloatArray second = context.floats(count);
    AdamwStep step = new AdamwStep();
    step.learningRate(0.01);
    step.weightDecay(0.1);
    step.gradientScale(0.5);
    double[] expected = Matrices.widen(values);
    double[] m = new double[count];
    double[] s = new double[count];
    for (int t = 1; t <= 3; t++) {
      FloatArray g = floats(gradients);
      step.step(t);
      context.adamw(step, v, g, first, second);
      assertArrayEquals(new float[count], all(g), "gradients are set to zero");
      for (int i = 0; i < count; i++) {
        double gradient = gradients[i] * 0.5;
        expected[i] *= 1 - 0.01 * 0.1;
        m[i] = 0.9 * m[i] + 0.1 * gradient;
        s[i] = 0.999 * s[i] + 0.001 * gradient * gradient;
        double root = Math.sqrt(s[i] / (1 - Math.pow(0.999, t))) + 1e-8;
        expected[i] -= 0.01 * m[i] / (1 - Math.pow(0.9, t)) / root;
      }
    }
    assertWithin("values", all(v), expected, 1e-6);
    assertWithin("first moments", all(first), m, 1e-6);
    assertWithin("second moments", all(second), s, 1e-6);
    FloatArray shorter = context.floats(count - 1);
    assertThrows(
        IllegalArgumentException.class, () -> context.adamw(step, v, shorter, first, second));
  }

  /**
   * Compares the slope of {@code sum(dy o f(x))} along a random direction, by central differences,
   * with what the gradient says.
   */
  private void checkSlope(
      float[] x, float[] dy, float[] gradient, BiConsumer<Activation, Activation> f, int width) {
    float[] direction = Matrices.random(random, x.length);
    double slope = 0;
    for (int i = 0; i < x.length; i++) {
      slope += (double) gradient[i] * direction[i];
    }
    double h = 1.0 / 256;
    double difference =
        (along(x, direction, h, dy, f, width) - along(x, direction, -h, dy, f, width)) / (2 * h);
    assertEquals(slope, difference, 1e-2 * Math.max(1, Math.abs(slope)));
    assertTrue(Math.abs(slope) > 1e-3, "the direction says nothing: " + slope);
  }

  private double along(
      float[] x,
      float[] direction,
      double h,
      float[] dy,
      BiConsumer<Activation, Activation> f,
      int width) {
    float[] moved = new float[x.length];
    for (int i = 0; i < x.length; i++) {
      moved[i] = (float) (x[i] + h * direction[i]);
    }
    Activation y = context.activation(DataType.F32, TOKENS, dy.length / TOKENS, 0);
    f.accept(activation(width, moved), y);
    float[] values = read(y);
    double sum = 0;
    for (int i = 0; i < values.length; i++) {
      sum += (double) values[i] * dy[i];
    }
    return sum;
  }

  /** A filled batch of documents of these lengths, all ids 0, without labels. */
  private Batch documents(int[] lengths) {
    Batch batch = context.batch(TOKENS);
    int token = 0;
    for (int length : lengths) {
      int begin = token;
      for (int position = 0; position < length; position++, token++) {
        batch.positions().put(token, position);
        batch.begins().put(token, begin);
      }
    }
    batch.fill(token);
    return batch;
  }

  private Activation activation(int width, float[] values) {
    Activation activation = context.activation(DataType.F32, TOKENS, width, 0);
    activation.resize(TOKENS);
    activation.write(0, width, values);
    return activation;
  }

  private FloatArray floats(float[] values) {
    FloatArray array = context.floats(values.length);
    array.write(0, values, 0, values.length);
    return array;
  }

  private static float[] read(Activation activation) {
    float[] values = new float[(int) (activation.tokens() * activation.width())];
    activation.read(0, activation.tokens(), 0, activation.width(), values);
    return values;
  }

  private static float[] all(FloatArray array) {
    float[] values = new float[(int) array.length()];
    array.read(0, values, 0, values.length);
    return values;
  }
}
