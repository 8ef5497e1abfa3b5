package io.rora.train;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.fasterxml.jackson.databind.JsonNode;
import io.rora.adapter.AdapterInit;
import io.rora.config.StrictJson;
import io.rora.kernels.DataType;
import io.rora.kernels.ScalingRule;
import java.io.IOException;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** A golden case that PyTorch and PEFT computed: see make_golden.py beside the cases. */
record Golden(Path folder, JsonNode json) {
  static Golden load(String name) throws IOException {
    try {
      Path folder = Path.of(Golden.class.getResource("/golden/" + name).toURI());
      return new Golden(folder, StrictJson.read(folder.resolve("golden.json")).node());
    } catch (URISyntaxException e) {
      throw new IOException(e);
    }
  }

  /** Checks that the files are those that the numbers were computed from. */
  void requireFiles() throws Exception {
    for (Map.Entry<String, JsonNode> file : json.get("sha256").properties()) {
      byte[] bytes = Files.readAllBytes(folder.resolve(file.getKey()));
      byte[] sum = MessageDigest.getInstance("SHA-256").digest(bytes);
      assertEquals(file.getValue().textValue(), HexFormat.of().formatHex(sum), file.getKey());
    }
  }

  Path model() {
    return folder.resolve("model");
  }

  Path rows() {
    return folder.resolve("rows.json");
  }

  boolean full() {
    return option("method").textValue().equals("full");
  }

  boolean hasInit() {
    return Files.isDirectory(folder.resolve("init"));
  }

  JsonNode option(String name) {
    return json.get("options").get(name);
  }

  JsonNode step(int step) {
    return json.get("steps").get(step - 1);
  }

  /** The same run, in rora's words. */
  TrainOptions.Builder options(Path out) {
    TrainOptions.Builder options =
        TrainOptions.builder()
            .model(model())
            .data(rows())
            .out(out)
            .shuffle(false)
            .threads(2)
            .method(Method.valueOf(option("method").textValue().toUpperCase(Locale.ROOT)))
            .learningRate(option("lr").doubleValue())
            .schedule(Schedule.valueOf(option("lr_scheduler").textValue().toUpperCase(Locale.ROOT)))
            .warmupSteps(option("warmup_steps").intValue())
            .weightDecay(option("weight_decay").doubleValue())
            .maxGradNorm(option("max_grad_norm").doubleValue())
            .batchSize(option("batch_size").intValue())
            .maxSteps(option("max_steps").intValue())
            .cutoffLen(option("cutoff_len").intValue())
            .trainOnInputs(option("train_on_inputs").booleanValue())
            .dtype(option("dtype").textValue().equals("fp32") ? DataType.F32 : DataType.BF16);
    return full() ? options : withAdapter(options);
  }

  private TrainOptions.Builder withAdapter(TrainOptions.Builder options) {
    Map<String, Integer> ranks = new LinkedHashMap<>();
    option("rank_pattern")
        .properties()
        .forEach(e -> ranks.put(e.getKey(), e.getValue().intValue()));
    Map<String, Double> alphas = new LinkedHashMap<>();
    option("alpha_pattern")
        .properties()
        .forEach(e -> alphas.put(e.getKey(), e.getValue().doubleValue()));
    options
        .rank(option("rank").intValue())
        .alpha(option("alpha").doubleValue())
        .rankPattern(ranks)
        .alphaPattern(alphas)
        .targetModules(targets())
        .loraPlusRatio(option("lora_plus_ratio").doubleValue());
    if (option("method").textValue().equals("dora")) {
      options.scaling(ScalingRule.valueOf(option("scaling").textValue().toUpperCase(Locale.ROOT)));
    }
    return hasInit()
        ? options.initAdapter(folder.resolve("init"))
        : options.init(AdapterInit.PISSA);
  }

  private List<String> targets() {
    JsonNode targets = option("target_modules");
    List<String> names = new ArrayList<>();
    if (targets.isTextual()) {
      names.add(targets.textValue());
    } else {
      targets.forEach(name -> names.add(name.textValue()));
    }
    return names;
  }

  int[] firstIds() {
    JsonNode ids = json.get("first_sequence").get("input_ids");
    int[] result = new int[ids.size()];
    for (int i = 0; i < result.length; i++) {
      result[i] = ids.get(i).intValue();
    }
    return result;
  }
}
