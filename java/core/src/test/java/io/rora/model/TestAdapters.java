package io.rora.model;

import io.rora.kernels.FloatArray;
import io.rora.kernels.LowRank;
import io.rora.kernels.RoraContext;
import io.rora.kernels.Weight;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;

/** Random adapters on projections of a model, both factors far from zero. */
final class TestAdapters {
  /** One adapter with its tensors. */
  record Entry(LowRank lowRank, FloatArray a, FloatArray b, FloatArray aGrad, FloatArray bGrad) {}

  static final int RANK = 3;
  static final double SCALING = 0.7;

  final Map<String, Entry> entries = new LinkedHashMap<>();

  TestAdapters(LlamaModel model, List<String> paths, long seed) {
    for (String path : paths) {
      Random random = new Random(seed + path.hashCode());
      Weight weight = model.weight(path);
      RoraContext context = model.context();
      FloatArray a = random(context, random, RANK * weight.inFeatures());
      FloatArray b = random(context, random, RANK * weight.outFeatures());
      FloatArray aGrad = context.floats(a.length());
      FloatArray bGrad = context.floats(b.length());
      int out = (int) weight.outFeatures();
      int in = (int) weight.inFeatures();
      LowRank lowRank = context.lowRank(out, in, RANK, SCALING, a, b, null, aGrad, bGrad, null);
      lowRank.refresh(weight);
      entries.put(path, new Entry(lowRank, a, b, aGrad, bGrad));
    }
  }

  private static FloatArray random(RoraContext context, Random random, long length) {
    float[] values = new float[(int) length];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (0.3 * random.nextGaussian());
    }
    FloatArray array = context.floats(length);
    array.write(0, values, 0, values.length);
    return array;
  }

  /** Room for these adapters in a pass over them. */
  Map<String, Integer> ranks() {
    Map<String, Integer> ranks = new LinkedHashMap<>();
    entries.keySet().forEach(path -> ranks.put(path, RANK));
    return ranks;
  }

  void attach(AdapterHost host) {
    entries.forEach((path, entry) -> host.attach(path, entry.lowRank()));
  }

  void attach(PlainLlama plain) {
    entries.forEach(
        (path, entry) ->
            plain.adapters.put(
                path,
                new PlainLlama.Adapter(RANK, SCALING, doubles(entry.a()), doubles(entry.b()))));
  }

  void clearGradients() {
    for (Entry entry : entries.values()) {
      entry.aGrad().fill(0);
      entry.bGrad().fill(0);
    }
  }

  /** All gradients by tensor name. */
  Map<String, float[]> gradients() {
    Map<String, float[]> gradients = new LinkedHashMap<>();
    entries.forEach(
        (path, entry) -> {
          gradients.put(path + ".lora_A", floats(entry.aGrad()));
          gradients.put(path + ".lora_B", floats(entry.bGrad()));
        });
    return gradients;
  }

  static float[] floats(FloatArray array) {
    float[] values = new float[(int) array.length()];
    array.read(0, values, 0, values.length);
    return values;
  }

  private static double[] doubles(FloatArray array) {
    float[] values = floats(array);
    double[] copy = new double[values.length];
    for (int i = 0; i < copy.length; i++) {
      copy[i] = values[i];
    }
    return copy;
  }
}
