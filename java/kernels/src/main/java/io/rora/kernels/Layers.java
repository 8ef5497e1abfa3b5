package io.rora.kernels;

import static io.rora.kernels.RoraException.check;

import io.rora.kernels.bindings.Rora;
import java.nio.ByteOrder;
import java.nio.FloatBuffer;

/** The operators without state of their own. They run on the context of their first activation. */
public final class Layers {
  private Layers() {}

  /**
   * {@code y[t] = table[ids[t]]}; resizes y.
   *
   * @throws RoraException if an id lies outside the table
   */
  public static void embeddingForward(Weight table, Batch batch, Activation y) {
    RoraContext context = y.context();
    check(
        Rora.rora_embedding_forward(
            table.handle(context), batch.handle(context), y.handle(context)));
  }

  /** Adds dy to the gradient bound by {@link Weight#train}, in the order of the tokens. */
  public static void embeddingBackward(Weight table, Batch batch, Activation dy) {
    RoraContext context = dy.context();
    check(
        Rora.rora_embedding_backward(
            table.handle(context), batch.handle(context), dy.handle(context)));
  }

  /**
   * RMSNorm (arXiv:1910.07467): {@code y = x r weight}, {@code r = 1 / sqrt(mean(x^2) + eps)} of
   * each token.
   *
   * @param weight as many floats as x has features
   */
  public static void rmsNormForward(Activation x, FloatArray weight, float eps, Activation y) {
    RoraContext context = x.context();
    check(
        Rora.rora_rmsnorm_forward(
            x.handle(context),
            weight.pointer(context, x.width(), "norm weight"),
            eps,
            y.handle(context)));
  }

  /**
   * {@code dx += r (w o dy - x r^2 mean(x o w o dy))}.
   *
   * @param weightGradOrNull added to; null if the norm is not trained
   * @param dx added to: the residual's share is already there
   */
  public static void rmsNormBackward(
      Activation x,
      FloatArray weight,
      float eps,
      Activation dy,
      FloatArray weightGradOrNull,
      Activation dx) {
    RoraContext context = x.context();
    check(
        Rora.rora_rmsnorm_backward(
            x.handle(context),
            weight.pointer(context, x.width(), "norm weight"),
            eps,
            dy.handle(context),
            FloatArray.pointerOrNull(weightGradOrNull, context, x.width(), "norm weight gradient"),
            dx.handle(context)));
  }

  /**
   * {@code y = silu(gate) o up} (arXiv:2002.05202).
   *
   * @param gateUp gate from column 0, up from {@code upColumn} on
   */
  public static void swigluForward(Activation gateUp, long upColumn, Activation y) {
    RoraContext context = gateUp.context();
    check(Rora.rora_swiglu_forward(gateUp.handle(context), upColumn, y.handle(context)));
  }

  /** Writes the gradients of gate and up to dGateUp, which may be gateUp itself. */
  public static void swigluBackward(
      Activation gateUp, long upColumn, Activation dy, Activation dGateUp) {
    RoraContext context = gateUp.context();
    check(
        Rora.rora_swiglu_backward(
            gateUp.handle(context), upColumn, dy.handle(context), dGateUp.handle(context)));
  }

  /**
   * The output head and its cross entropy in one: the sum of {@code -log softmax(x head^T)[label]}
   * over the tokens that have a label. Adds to the head's gradient if one is bound.
   *
   * @param head {@code [vocabulary, hidden]}
   * @param x the final hidden states
   * @param divisor what the gradients are divided by: the supervised tokens of the whole optimiser
   *     batch
   * @param tokenLossOrNull direct, in native order; from its position on, which stays, it receives
   *     each token's own loss, 0 without a label
   * @param dxOrNull gradient of sum / divisor with respect to x (overwritten); null computes the
   *     losses alone
   * @return the undivided sum
   */
  public static double crossEntropy(
      Weight head,
      Batch batch,
      Activation x,
      double divisor,
      FloatBuffer tokenLossOrNull,
      Activation dxOrNull) {
    RoraContext context = x.context();
    checkTokenLoss(tokenLossOrNull, batch.tokens());
    check(
        Rora.rora_cross_entropy(
            head.handle(context),
            batch.handle(context),
            x.handle(context),
            divisor,
            context.staging().scalarBuffer(),
            tokenLossOrNull,
            Activation.handleOrNull(dxOrNull, context)));
    return context.staging().scalar();
  }

  private static void checkTokenLoss(FloatBuffer tokenLoss, int tokens) {
    if (tokenLoss == null) {
      return;
    }
    if (!tokenLoss.isDirect()
        || tokenLoss.isReadOnly()
        || tokenLoss.order() != ByteOrder.nativeOrder()
        || tokenLoss.remaining() < tokens) {
      throw new IllegalArgumentException(
          "tokenLoss "
              + tokenLoss
              + (": must be direct, writable, in native order and hold " + tokens + " floats"));
    }
  }
}
