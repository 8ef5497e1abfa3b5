package io.rora.model;

import io.rora.config.ModelConfig;
import io.rora.config.RopeConfig;
import io.rora.config.RopeScaling;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

/** Small architectures, each with something that a careless implementation gets wrong. */
public final class TinyConfigs {
  private TinyConfigs() {}

  /** All of them by name. */
  public static Map<String, ModelConfig> all() {
    RopeConfig plain = RopeConfig.of(10000);
    Map<String, ModelConfig> configs = new LinkedHashMap<>();
    configs.put("grouped", config(37, 24, 8, two(40), two(4), two(2), false, false, plain));
    configs.put("odd sizes", config(29, 21, 6, two(33), two(3), two(1), false, false, plain));
    configs.put("biases, tied", config(37, 24, 6, two(40), two(4), two(4), true, true, plain));
    configs.put(
        "widths by layer",
        config(37, 24, 8, List.of(40, 22), List.of(4, 2), List.of(2, 1), true, false, plain));
    configs.put(
        "linear rope",
        config(
            37,
            24,
            8,
            two(40),
            two(4),
            two(2),
            false,
            false,
            new RopeConfig(500, new RopeScaling.Linear(4))));
    configs.put(
        "llama3 rope",
        config(
            37,
            24,
            8,
            two(40),
            two(4),
            two(2),
            false,
            true,
            new RopeConfig(500, new RopeScaling.Llama3(8, 1, 4, 16))));
    return configs;
  }

  /** The first of them. */
  public static ModelConfig grouped() {
    return all().get("grouped");
  }

  private static List<Integer> two(int value) {
    return Collections.nCopies(2, value);
  }

  private static ModelConfig config(
      int vocabulary,
      int hidden,
      int headDim,
      List<Integer> inner,
      List<Integer> heads,
      List<Integer> kvHeads,
      boolean bias,
      boolean tied,
      RopeConfig rope) {
    return new ModelConfig(
        ModelConfig.Architecture.LLAMA,
        vocabulary,
        hidden,
        headDim,
        inner,
        heads,
        kvHeads,
        bias,
        bias,
        tied,
        rope,
        1e-5f,
        96,
        OptionalInt.empty(),
        List.of(2),
        OptionalInt.empty());
  }
}
