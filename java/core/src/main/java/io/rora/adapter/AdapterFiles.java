package io.rora.adapter;

import io.rora.config.JsonText;
import io.rora.files.DurableFiles.Body;
import io.rora.files.FileSink;
import io.rora.kernels.FloatArray;
import io.rora.kernels.ScalingRule;
import io.rora.safetensors.SafetensorsType;
import io.rora.safetensors.SafetensorsWriter;
import io.rora.safetensors.SafetensorsWriter.Tensor;
import java.io.IOException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** Writes adapters in PEFT's layout; {@link SavedAdapter} reads them. */
public final class AdapterFiles {
  private static final int CHUNK = 1 << 15;

  private AdapterFiles() {}

  /**
   * Writes {@code adapter_model.safetensors} and {@code adapter_config.json}.
   *
   * @param values the set whose tensors are written as they are now, in float32
   */
  public static void write(FileSink sink, AdapterSet values) throws IOException {
    sink.write(SavedAdapter.TENSORS, tensors(values));
    sink.write(AdapterConfig.FILE, Body.of(json(values.config(), values.modules())));
  }

  private static Body tensors(AdapterSet set) {
    Map<Tensor, FloatArray> tensors = new LinkedHashMap<>();
    for (Adapter adapter : set.adapters()) {
      AdapterModule module = adapter.module();
      long rank = module.rank();
      long out = module.outFeatures();
      tensors.put(tensor(module.loraAName(), rank, (long) module.inFeatures()), adapter.loraA());
      tensors.put(tensor(module.loraBName(), out, rank), adapter.loraB());
      if (adapter instanceof DoraAdapter dora) {
        tensors.put(tensor(module.magnitudeName(), out), dora.magnitude());
      }
    }
    float[] chunk = new float[CHUNK];
    return SafetensorsWriter.body(
        Map.of("format", "pt"),
        tensors.keySet(),
        (tensor, out) -> {
          FloatArray values = tensors.get(tensor);
          for (long done = 0; done < values.length(); done += CHUNK) {
            int count = (int) Math.min(CHUNK, values.length() - done);
            values.read(done, chunk, 0, count);
            out.writeFloats(chunk, 0, count);
          }
        });
  }

  private static Tensor tensor(String name, Long... shape) {
    return new Tensor(name, SafetensorsType.F32, List.of(shape));
  }

  /**
   * The text of adapter_config.json: the fields that PEFT needs, sorted.
   *
   * @param modules the modules that the configuration makes of the model
   */
  static String json(AdapterConfig config, List<AdapterModule> modules) {
    AdapterConfig canonical = config.canonical(modules);
    Map<String, Object> json = new TreeMap<>();
    json.put("alpha_pattern", plainNumbers(canonical.alphaPattern()));
    json.put("base_model_name_or_path", canonical.baseModel());
    json.put("bias", "none");
    json.put("fan_in_fan_out", false);
    json.put("inference_mode", true);
    json.put("init_lora_weights", true);
    json.put("layers_pattern", null);
    json.put("layers_to_transform", null);
    json.put("lora_alpha", plainNumber(canonical.alpha()));
    json.put("lora_dropout", canonical.dropout());
    json.put("modules_to_save", null);
    json.put("peft_type", "LORA");
    json.put("r", canonical.rank());
    json.put("rank_pattern", canonical.rankPattern());
    json.put("revision", null);
    json.put("target_modules", canonical.targets().names().stream().sorted().toList());
    json.put("task_type", "CAUSAL_LM");
    json.put("use_dora", canonical.dora());
    json.put("use_rslora", canonical.scaling() == ScalingRule.RORA);
    return JsonText.pretty(json);
  }

  private static Map<String, Number> plainNumbers(Map<String, Double> values) {
    Map<String, Number> plain = new TreeMap<>();
    values.forEach((key, value) -> plain.put(key, plainNumber(value)));
    return plain;
  }

  /** Returns whole numbers without a fraction, as users write them. */
  private static Number plainNumber(double value) {
    if (value == Math.rint(value)) {
      return (long) value;
    }
    return value;
  }
}
