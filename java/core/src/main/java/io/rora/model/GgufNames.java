package io.rora.model;

import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** llama.cpp's names of a LLaMA model's tensors. */
final class GgufNames {
  /** Divisors of the rotary frequencies. */
  static final String ROPE_DIVISORS = "rope_freqs.weight";

  private static final Pattern LAYER =
      Pattern.compile("model\\.layers\\.(\\d+)\\.(.+)\\.(weight|bias)");
  private static final Pattern DERIVED =
      Pattern.compile("rope_freqs\\.weight|blk\\.\\d+\\.attn_rot_embd(\\.weight)?");

  private static final Map<String, String> OUTER =
      Map.of(
          "model.embed_tokens.weight", "token_embd.weight",
          "model.norm.weight", "output_norm.weight",
          "lm_head.weight", "output.weight");

  private static final Map<String, String> PARTS =
      Map.of(
          "self_attn.q_proj", "attn_q",
          "self_attn.k_proj", "attn_k",
          "self_attn.v_proj", "attn_v",
          "self_attn.o_proj", "attn_output",
          "mlp.gate_proj", "ffn_gate",
          "mlp.up_proj", "ffn_up",
          "mlp.down_proj", "ffn_down",
          "input_layernorm", "attn_norm",
          "post_attention_layernorm", "ffn_norm");

  private GgufNames() {}

  /** Returns llama.cpp's name for one of {@link io.rora.config.ModelConfig#tensorShapes()}. */
  static String of(String name) {
    Matcher layer = LAYER.matcher(name);
    if (layer.matches()) {
      return "blk." + layer.group(1) + "." + PARTS.get(layer.group(2)) + "." + layer.group(3);
    }
    return OUTER.get(name);
  }

  /** Returns whether llama.cpp puts the rows of this tensor in its interleaved order. */
  static boolean interleaved(String name) {
    return name.contains(".self_attn.q_proj.") || name.contains(".self_attn.k_proj.");
  }

  /** Returns whether a tensor follows from the configuration or is read as part of it. */
  static boolean derived(String ggufName) {
    return DERIVED.matcher(ggufName).matches();
  }
}
