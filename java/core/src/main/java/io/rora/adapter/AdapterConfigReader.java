package io.rora.adapter;

import com.fasterxml.jackson.databind.JsonNode;
import io.rora.config.StrictJson;
import io.rora.files.FileFormatException;
import io.rora.kernels.ScalingRule;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * Reads PEFT's adapter_config.json. A field either is implemented, or cannot change what a trained
 * adapter computes, or must be null, false or empty: anything else is refused by name, because
 * ignoring it would silently compute another function.
 */
final class AdapterConfigReader {
  private static final long MAX_BYTES = 16L << 20;
  private static final int MAX_REGEX = 4096;

  // Read below.
  private static final Set<String> IMPLEMENTED =
      Set.of(
          "peft_type",
          "task_type",
          "base_model_name_or_path",
          "r",
          "lora_alpha",
          "lora_dropout",
          "target_modules",
          "exclude_modules",
          "layers_to_transform",
          "layers_pattern",
          "bias",
          "use_rslora",
          "use_dora",
          "rank_pattern",
          "alpha_pattern",
          "init_lora_weights");

  // They describe where the adapter came from, or how it was initialised, trained or would be run.
  private static final Map<String, Kind> WITHOUT_EFFECT =
      Map.ofEntries(
          Map.entry("auto_mapping", Kind.OBJECT),
          Map.entry("corda_config", Kind.OBJECT),
          Map.entry("ensure_weight_tying", Kind.BOOLEAN),
          Map.entry("eva_config", Kind.OBJECT),
          Map.entry("inference_mode", Kind.BOOLEAN),
          Map.entry("loftq_config", Kind.OBJECT),
          Map.entry("lora_ga_config", Kind.OBJECT),
          Map.entry("megatron_core", Kind.STRING),
          Map.entry("peft_version", Kind.STRING),
          Map.entry("qalora_group_size", Kind.NUMBER),
          Map.entry("revision", Kind.STRING),
          Map.entry("runtime_config", Kind.OBJECT));

  // They leave the base weights as they are; PiSSA's, OLoRA's and others' change them on loading.
  private static final Set<String> PLAIN_INITS = Set.of("gaussian", "eva", "orthogonal", "mica");

  private final StrictJson json;

  AdapterConfigReader(Path file) throws IOException {
    this.json = StrictJson.read(file, MAX_BYTES);
  }

  private enum Kind {
    BOOLEAN("true or false"),
    NUMBER("a number"),
    STRING("a string"),
    OBJECT("an object {...}");

    private final String expected;

    Kind(String expected) {
      this.expected = expected;
    }

    boolean accepts(JsonNode node) {
      return switch (this) {
        case BOOLEAN -> node.isBoolean();
        case NUMBER -> node.isNumber();
        case STRING -> node.isTextual();
        case OBJECT -> node.isObject();
      };
    }
  }

  AdapterConfig read() throws IOException {
    checkOtherFields();
    requireText("peft_type", "LORA", true);
    requireText("task_type", "CAUSAL_LM", false);
    requireText("bias", "none", false);
    checkInit();
    double dropout = json.number("lora_dropout", 0);
    try {
      return new AdapterConfig(
          json.string("base_model_name_or_path", null),
          json.bool("use_rslora", false) ? ScalingRule.RORA : ScalingRule.LORA,
          json.bool("use_dora", false),
          json.integer("r", 1, AdapterConfig.MAX_RANK),
          json.number("lora_alpha"),
          dropout,
          targets(),
          ranks(),
          alphas());
    } catch (IllegalArgumentException e) {
      throw new FileFormatException(json.where(), e.getMessage());
    }
  }

  private void checkOtherFields() throws FileFormatException {
    for (String field : json.fields()) {
      JsonNode node = json.node(field);
      Kind kind = WITHOUT_EFFECT.get(field);
      if (IMPLEMENTED.contains(field) || node.isNull()) {
        continue;
      }
      if (kind != null && !kind.accepts(node)) {
        throw json.error(field, "is " + shown(node) + ", expected " + kind.expected);
      }
      if (kind == null && !isUnset(node)) {
        throw json.error(
            field,
            "is "
                + shown(node)
                + ": rora does not implement this field, and without it the adapter would compute"
                + " something else");
      }
    }
  }

  private static boolean isUnset(JsonNode node) {
    return (node.isBoolean() && !node.booleanValue())
        || ((node.isContainerNode() || node.isTextual())
            && node.isEmpty()
            && node.asText().isEmpty());
  }

  private void requireText(String field, String only, boolean required) throws IOException {
    String value = required ? json.string(field) : json.string(field, only);
    if (!value.equals(only)) {
      throw json.error(field, "is \"" + value + "\"; only \"" + only + "\" is implemented");
    }
  }

  private void checkInit() throws FileFormatException {
    JsonNode init = json.node("init_lora_weights");
    if (init == null || init.isNull() || init.isBoolean()) {
      return;
    }
    if (!init.isTextual()) {
      throw json.error(
          "init_lora_weights", "is " + shown(init) + ", expected true, false or a name");
    }
    if (!PLAIN_INITS.contains(init.textValue())) {
      throw json.error(
          "init_lora_weights",
          "is "
              + shown(init)
              + ": PEFT changes the base weights with it. Convert the adapter to a plain one first"
              + " (PEFT: save_pretrained with path_initial_model_for_weight_conversion)");
    }
  }

  private TargetModules targets() throws FileFormatException {
    List<String> names = List.of();
    String regex = null;
    boolean allLinear = false;
    if (json.isList("target_modules")) {
      names = json.strings("target_modules");
      if (names.isEmpty()) {
        throw json.error("target_modules", "is empty; name the modules that carry an adapter");
      }
      refuseHeadAndEmbedding(names);
    } else {
      regex = json.string("target_modules");
      allLinear = regex.equals(TargetModules.ALL_LINEAR);
      regex = allLinear ? null : checkedRegex("target_modules", regex);
    }
    boolean excludesList = json.isList("exclude_modules");
    boolean excludesText = json.has("exclude_modules") && !excludesList;
    return new TargetModules(
        names,
        regex,
        allLinear,
        excludesList ? json.strings("exclude_modules") : List.of(),
        excludesText ? checkedRegex("exclude_modules", json.string("exclude_modules")) : null,
        layers(),
        layersPatterns());
  }

  private void refuseHeadAndEmbedding(List<String> names) throws FileFormatException {
    for (String name : names) {
      if (name.endsWith("lm_head") || name.endsWith("embed_tokens")) {
        throw json.error(
            "target_modules",
            "names " + name + ": adapters on embeddings and the output head are not implemented");
      }
    }
  }

  private List<Integer> layers() throws FileFormatException {
    String field = "layers_to_transform";
    if (!json.has(field)) {
      return List.of();
    }
    return json.isList(field)
        ? json.integers(field, 0, Integer.MAX_VALUE)
        : List.of(json.integer(field, 0, Integer.MAX_VALUE));
  }

  private List<String> layersPatterns() throws FileFormatException {
    String field = "layers_pattern";
    if (!json.has(field)) {
      return List.of();
    }
    List<String> patterns = json.isList(field) ? json.strings(field) : List.of(json.string(field));
    for (String pattern : patterns) {
      checkedRegex(field, pattern);
    }
    return patterns.stream().filter(pattern -> !pattern.isEmpty()).toList();
  }

  private String checkedRegex(String field, String regex) throws FileFormatException {
    if (regex.length() > MAX_REGEX) {
      throw json.error(field, "has " + regex.length() + " characters, at most " + MAX_REGEX);
    }
    try {
      Pattern.compile(regex);
    } catch (PatternSyntaxException e) {
      throw json.error(field, "is not a regular expression: " + e.getDescription());
    }
    return regex;
  }

  private Map<String, Integer> ranks() throws FileFormatException {
    Map<String, Integer> ranks = new LinkedHashMap<>();
    for (String key : patternKeys("rank_pattern")) {
      ranks.put(key, json.object("rank_pattern").integer(key, 1, AdapterConfig.MAX_RANK));
    }
    return ranks;
  }

  private Map<String, Double> alphas() throws FileFormatException {
    Map<String, Double> alphas = new LinkedHashMap<>();
    for (String key : patternKeys("alpha_pattern")) {
      alphas.put(key, json.object("alpha_pattern").number(key));
    }
    return alphas;
  }

  /** Returns a pattern's keys in the file's order, which decides which one wins. */
  private List<String> patternKeys(String field) throws FileFormatException {
    if (!json.has(field)) {
      return List.of();
    }
    List<String> keys = new ArrayList<>();
    json.object(field).node().fieldNames().forEachRemaining(keys::add);
    for (String key : keys) {
      checkedRegex(field, key);
    }
    return keys;
  }

  private static String shown(JsonNode node) {
    String text = node.toString();
    return text.length() > 60 ? text.substring(0, 60) + "..." : text;
  }
}
