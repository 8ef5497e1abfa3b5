package io.rora.train;

import io.rora.model.Checkpointing;
import java.util.Optional;

/** The option {@code --checkpoint-activations}. */
public enum ActivationCheckpointing {
  /** Keep all activations. */
  NONE,
  /** Recompute the widest. */
  MLP,
  /** Recompute whole layers. */
  LAYER,
  /** The first of these whose estimate fits into three quarters of the machine's memory. */
  AUTO;

  /** The level, unless it is to be chosen. */
  Optional<Checkpointing> level() {
    return this == AUTO ? Optional.empty() : Optional.of(Checkpointing.valueOf(name()));
  }
}
