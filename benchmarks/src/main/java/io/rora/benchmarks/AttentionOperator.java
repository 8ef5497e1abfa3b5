package io.rora.benchmarks;

import io.rora.kernels.Activation;
import io.rora.kernels.Attention;
import io.rora.kernels.Batch;
import io.rora.kernels.FloatArray;
import io.rora.kernels.RoraContext;
import java.util.LinkedHashMap;
import java.util.Map;
import org.bytedeco.pytorch.DoubleOptional;
import org.bytedeco.pytorch.Tensor;
import org.bytedeco.pytorch.TensorOptional;
import org.bytedeco.pytorch.global.torch;

/** Causal attention of one document with grouped queries, forwards or backwards. */
public abstract class AttentionOperator extends LayerOperator {
  /** JMH makes one. */
  protected AttentionOperator() {}

  abstract boolean backward();

  private int queryWidth() {
    return model.heads * model.headDim;
  }

  private int keyWidth() {
    return model.kvHeads * model.headDim;
  }

  @Override
  Side rora() {
    RoraContext context = RoraContext.open("cpu", Peers.threads());
    int q = queryWidth();
    int kv = keyWidth();
    Attention attention = context.attention(model.heads, model.kvHeads, model.headDim, q, q + kv);
    Batch batch = batch(context);
    Activation qkv = activation(context, q + 2 * kv, 0);
    qkv.write(0, q, numbers.array(tokens * q, 1, 1));
    qkv.write(q, kv, numbers.array(tokens * kv, 2, 1));
    qkv.write(q + kv, kv, numbers.array(tokens * kv, 3, 1));
    FloatArray lse = context.floats(attention.lseLength(tokens));
    Activation y = activation(context, q, 0);
    Activation dy = activation(context, q, 4);
    Activation gradient = activation(context, q + 2 * kv, 0);
    attention.forward(batch, qkv, lse, y); // the backward pass reads lse and y
    Runnable run =
        backward()
            ? () -> attention.backward(batch, qkv, y, lse, dy, gradient)
            : () -> attention.forward(batch, qkv, lse, y);
    return Side.of(
        run,
        () -> {
          run.run();
          return backward() ? parts(gradient) : Map.of("y", read(y));
        },
        context::close);
  }

  private Map<String, float[]> parts(Activation qkv) {
    Map<String, float[]> parts = new LinkedHashMap<>();
    int column = 0;
    for (String name : new String[] {"dq", "dk", "dv"}) {
      int width = name.equals("dq") ? queryWidth() : keyWidth();
      float[] values = new float[tokens * width];
      qkv.read(0, tokens, column, width, values);
      parts.put(name, values);
      column += width;
    }
    return parts;
  }

  /** The operand as {@code [1, heads, tokens, headDim]}, laid out by tokens as a model has it. */
  private static Tensor heads(Tensor leaf, int tokens, int heads, int headDim) {
    return leaf.view(1, tokens, heads, headDim).transpose(1, 2);
  }

  @Override
  Side torch() {
    Tensor q = tensor(queryWidth(), 1);
    Tensor k = tensor(keyWidth(), 2);
    Tensor v = tensor(keyWidth(), 3);
    if (backward()) {
      for (Tensor leaf : new Tensor[] {q, k, v}) {
        leaf.set_requires_grad(true);
      }
    }
    Tensor queries = heads(q, tokens, model.heads, model.headDim);
    Tensor keys = heads(k, tokens, model.kvHeads, model.headDim);
    Tensor values = heads(v, tokens, model.kvHeads, model.headDim);
    TensorOptional noMask = new TensorOptional();
    DoubleOptional scale = new DoubleOptional();
    boolean grouped = model.heads != model.kvHeads;
    if (backward()) {
      Tensor y =
          torch.scaled_dot_product_attention(
              queries, keys, values, noMask, 0, true, scale, grouped);
      Tensor dy = heads(tensor(queryWidth(), 4), tokens, model.heads, model.headDim);
      return new TorchGradient(y, dy, q, k, v);
    }
    return Side.of(
        () ->
            torch
                .scaled_dot_product_attention(
                    queries, keys, values, noMask, 0, true, scale, grouped)
                .close(),
        () -> {
          Tensor y =
              torch.scaled_dot_product_attention(
                  queries, keys, values, noMask, 0, true, scale, grouped);
          return Map.of("y", Torch.array(y.transpose(1, 2)));
        },
        () -> {
          q.close();
          k.close();
          v.close();
        });
  }
}
