package io.rora.model;

import io.rora.config.ModelConfig;
import java.util.List;

/**
 * A tensor that a LLaMA model consists of.
 *
 * @param name as Hugging Face names it, such as {@code model.layers.0.self_attn.q_proj.weight}
 * @param role what it does
 * @param rows output features of a matrix; the length of a vector
 * @param columns input features of a matrix; 1 for a vector
 */
public record ModelTensor(String name, Role role, long rows, long columns) {
  /** What a tensor does in the model. */
  public enum Role {
    /** The embedding table [vocabulary, hidden]; with tied weights the output head too. */
    EMBEDDING,
    /** The weight of a projection [out, in]. */
    PROJECTION,
    /** The bias of a projection [out]. */
    BIAS,
    /** The weight of an RMSNorm [hidden]. */
    NORM,
    /** The output head [vocabulary, hidden] of a model that does not tie it. */
    HEAD
  }

  /** Whether this is a bias or a norm, which are kept in float32 whatever the model's type. */
  public boolean isVector() {
    return role == Role.BIAS || role == Role.NORM;
  }

  /** The number of elements. */
  public long elements() {
    return Math.multiplyExact(rows, columns);
  }

  /** The shape as files give it: {@code [rows, columns]}, for a vector {@code [rows]}. */
  public long[] shape() {
    return isVector() ? new long[] {rows} : new long[] {rows, columns};
  }

  /** All tensors of a model, in the order of the computation. */
  public static List<ModelTensor> of(ModelConfig config) {
    return config.tensorShapes().entrySet().stream()
        .map(entry -> of(entry.getKey(), entry.getValue()))
        .toList();
  }

  private static ModelTensor of(String name, List<Long> shape) {
    return new ModelTensor(
        name, role(name, shape), shape.get(0), shape.size() == 1 ? 1 : shape.get(1));
  }

  private static Role role(String name, List<Long> shape) {
    if (name.endsWith(".bias")) {
      return Role.BIAS;
    }
    if (shape.size() == 1) {
      return Role.NORM;
    }
    if (name.equals("lm_head.weight")) {
      return Role.HEAD;
    }
    return name.endsWith("_proj.weight") ? Role.PROJECTION : Role.EMBEDDING;
  }
}
