package io.rora.model;

import io.rora.config.ModelConfig;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * LLaMA as plain loops in double precision, one document at a time: what the passes are held
 * against. Tensors are mutable, so that a test can take finite differences.
 */
public final class PlainLlama {
  /** A low-rank adapter: W + scaling B A, with A [rank, in] and B [out, rank]. */
  public static final class Adapter {
    final int rank;
    final double scaling;
    final double[] a;
    final double[] b;

    Adapter(int rank, double scaling, double[] a, double[] b) {
      this.rank = rank;
      this.scaling = scaling;
      this.a = a;
      this.b = b;
    }
  }

  private final ModelConfig config;
  private final float[] frequencies;

  /** Tensors by their Hugging Face names. */
  public final Map<String, double[]> tensors = new HashMap<>();

  /** Adapters by the paths of their projections. */
  public final Map<String, Adapter> adapters = new HashMap<>();

  /** Copies the source's tensors. */
  public PlainLlama(MemorySource source) {
    config = source.config();
    frequencies = config.rope().inverseFrequencies(config.headDim());
    source
        .tensors()
        .forEach(
            (name, values) -> {
              double[] copy = new double[values.length];
              for (int i = 0; i < copy.length; i++) {
                copy[i] = values[i];
              }
              tensors.put(name, copy);
            });
  }

  /** Sum of cross entropies of the documents, over the tokens from {@code promptTokens} on. */
  public double loss(List<int[]> documents, int promptTokens) {
    double sum = 0;
    for (int[] ids : documents) {
      double[][] logits = logits(ids);
      for (int t = Math.max(promptTokens, 1); t < ids.length; t++) {
        sum -= logSoftmax(logits[t - 1], ids[t]);
      }
    }
    return sum;
  }

  /** log softmax(logits)[id]. */
  public static double logSoftmax(double[] logits, int id) {
    double sum = 0;
    for (double logit : logits) {
      sum += Math.exp(logit - logits[id]);
    }
    return -Math.log(sum);
  }

  /** Logits after each token of a document. */
  public double[][] logits(int[] ids) {
    int hidden = config.hiddenSize();
    double[][] x = new double[ids.length][hidden];
    for (int t = 0; t < ids.length; t++) {
      System.arraycopy(tensors.get("model.embed_tokens.weight"), ids[t] * hidden, x[t], 0, hidden);
    }
    for (int l = 0; l < config.layers(); l++) {
      String layer = "model.layers." + l + ".";
      add(x, attention(norm(x, layer + "input_layernorm"), l, layer + "self_attn."));
      add(x, mlp(norm(x, layer + "post_attention_layernorm"), layer + "mlp."));
    }
    String head = config.tieWordEmbeddings() ? "model.embed_tokens" : "lm_head";
    return linear(norm(x, "model.norm"), head, config.vocabSize());
  }

  private double[][] attention(double[][] x, int l, String at) {
    int dim = config.headDim();
    int heads = config.heads(l);
    int group = heads / config.kvHeads(l);
    double[][] q = rotate(linear(x, at + "q_proj", heads * dim));
    double[][] k = rotate(linear(x, at + "k_proj", config.kvHeads(l) * dim));
    double[][] v = linear(x, at + "v_proj", config.kvHeads(l) * dim);
    double[][] y = new double[x.length][heads * dim];
    for (int t = 0; t < x.length; t++) {
      for (int h = 0; h < heads; h++) {
        attend(q[t], k, v, h * dim, h / group * dim, t, y[t]);
      }
    }
    return linear(y, at + "o_proj", config.hiddenSize());
  }

  private void attend(double[] q, double[][] k, double[][] v, int at, int kv, int t, double[] y) {
    int dim = config.headDim();
    double[] p = new double[t + 1];
    double sum = 0;
    for (int s = 0; s <= t; s++) {
      double dot = 0;
      for (int i = 0; i < dim; i++) {
        dot += q[at + i] * k[s][kv + i];
      }
      p[s] = Math.exp(dot / Math.sqrt(dim));
      sum += p[s];
    }
    for (int s = 0; s <= t; s++) {
      for (int i = 0; i < dim; i++) {
        y[at + i] += p[s] / sum * v[s][kv + i];
      }
    }
  }

  private double[][] rotate(double[][] x) {
    int half = config.headDim() / 2;
    for (int t = 0; t < x.length; t++) {
      for (int head = 0; head < x[t].length; head += 2 * half) {
        for (int i = 0; i < half; i++) {
          double cos = Math.cos((double) t * frequencies[i]);
          double sin = Math.sin((double) t * frequencies[i]);
          double a = x[t][head + i];
          double b = x[t][head + half + i];
          x[t][head + i] = a * cos - b * sin;
          x[t][head + half + i] = b * cos + a * sin;
        }
      }
    }
    return x;
  }

  private double[][] mlp(double[][] x, String at) {
    int inner = tensors.get(at + "gate_proj.weight").length / config.hiddenSize();
    double[][] gate = linear(x, at + "gate_proj", inner);
    double[][] up = linear(x, at + "up_proj", inner);
    for (int t = 0; t < x.length; t++) {
      for (int i = 0; i < inner; i++) {
        up[t][i] *= gate[t][i] / (1 + Math.exp(-gate[t][i]));
      }
    }
    return linear(up, at + "down_proj", config.hiddenSize());
  }

  private double[][] norm(double[][] x, String path) {
    double[] weight = tensors.get(path + ".weight");
    double[][] y = new double[x.length][weight.length];
    for (int t = 0; t < x.length; t++) {
      double squares = 0;
      for (double value : x[t]) {
        squares += value * value;
      }
      double r = 1 / Math.sqrt(squares / weight.length + config.rmsNormEps());
      for (int i = 0; i < weight.length; i++) {
        y[t][i] = x[t][i] * r * weight[i];
      }
    }
    return y;
  }

  private double[][] linear(double[][] x, String path, int out) {
    double[] bias = tensors.get(path + ".bias");
    double[][] y = product(x, tensors.get(path + ".weight"), out);
    Adapter adapter = adapters.get(path);
    if (adapter != null) {
      double[][] low = product(x, adapter.a, adapter.rank);
      double[][] high = product(low, adapter.b, out);
      for (int t = 0; t < x.length; t++) {
        for (int n = 0; n < out; n++) {
          y[t][n] += adapter.scaling * high[t][n];
        }
      }
    }
    for (int t = 0; bias != null && t < x.length; t++) {
      for (int n = 0; n < out; n++) {
        y[t][n] += bias[n];
      }
    }
    return y;
  }

  private static double[][] product(double[][] x, double[] w, int out) {
    double[][] y = new double[x.length][out];
    for (int t = 0; t < x.length; t++) {
      for (int n = 0; n < out; n++) {
        for (int i = 0; i < x[t].length; i++) {
          y[t][n] += x[t][i] * w[n * x[t].length + i];
        }
      }
    }
    return y;
  }

  private static void add(double[][] x, double[][] y) {
    for (int t = 0; t < x.length; t++) {
      for (int i = 0; i < x[t].length; i++) {
        x[t][i] += y[t][i];
      }
    }
  }
}
