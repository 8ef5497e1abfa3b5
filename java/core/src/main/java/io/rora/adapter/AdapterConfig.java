package io.rora.adapter;

import io.rora.config.ModelConfig;
import io.rora.kernels.ScalingRule;
import io.rora.model.ModelTensor;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Pattern;
import java.util.regex.PatternSyntaxException;

/**
 * What PEFT's {@code adapter_config.json} says: which modules carry an adapter, of which rank and
 * scaling.
 *
 * @param baseModel the model that the adapter was made for, as a free text; may be null
 * @param scaling LORA: alpha / rank; RORA: alpha / sqrt(rank), which PEFT calls {@code use_rslora}
 * @param dora whether each module has magnitudes (arXiv:2402.09353)
 * @param rank rank of a module without a pattern
 * @param alpha alpha of a module without a pattern
 * @param dropout probability with which the adapter's inputs were dropped in training
 * @param targets the modules
 * @param rankPattern ranks by regex: a key k speaks for the modules whose path {@code (.*\.)?(k)}
 *     matches, and the first such key wins
 * @param alphaPattern alphas likewise
 */
public record AdapterConfig(
    String baseModel,
    ScalingRule scaling,
    boolean dora,
    int rank,
    double alpha,
    double dropout,
    TargetModules targets,
    Map<String, Integer> rankPattern,
    Map<String, Double> alphaPattern) {
  /** The file's name in an adapter's directory. */
  public static final String FILE = "adapter_config.json";

  /** The highest rank that is believed; far above any use, far below what would overflow. */
  public static final int MAX_RANK = 1 << 16;

  /** Checks and copies. */
  public AdapterConfig {
    checkRank("rank", rank);
    checkAlpha("alpha", alpha);
    if (!(dropout >= 0 && dropout < 1)) {
      throw new IllegalArgumentException("dropout=" + dropout + ": must be at least 0 and below 1");
    }
    rankPattern = Collections.unmodifiableMap(new LinkedHashMap<>(rankPattern));
    alphaPattern = Collections.unmodifiableMap(new LinkedHashMap<>(alphaPattern));
    rankPattern.forEach((key, value) -> checkRank("rank pattern " + checkKey(key), value));
    alphaPattern.forEach((key, value) -> checkAlpha("alpha pattern " + checkKey(key), value));
  }

  /**
   * Reads {@code adapter_config.json}; what changes the result and is not implemented is refused.
   */
  public static AdapterConfig read(Path file) throws IOException {
    return new AdapterConfigReader(file).read();
  }

  /**
   * The modules of a model that carry an adapter, in the model's order.
   *
   * @throws IllegalArgumentException if none does
   */
  public List<AdapterModule> modules(ModelConfig model) {
    List<AdapterModule> modules = new ArrayList<>();
    for (ModelTensor tensor : ModelTensor.of(model)) {
      String path = pathOf(tensor);
      if (tensor.role() == ModelTensor.Role.PROJECTION && targets.contains(path)) {
        modules.add(module(path, (int) tensor.rows(), (int) tensor.columns()));
      }
    }
    if (modules.isEmpty()) {
      throw new IllegalArgumentException(
          "target_modules name no projection of this model; its projections are q_proj, k_proj, "
              + "v_proj, o_proj, gate_proj, up_proj and down_proj of "
              + model.layers()
              + " layers");
    }
    return modules;
  }

  /** What this configuration makes of a projection. */
  public AdapterModule module(String path, int outFeatures, int inFeatures) {
    int moduleRank = byPattern(rankPattern, path, rank);
    double moduleAlpha = byPattern(alphaPattern, path, alpha);
    return new AdapterModule(
        path,
        outFeatures,
        inFeatures,
        moduleRank,
        moduleAlpha,
        scaling.gamma(moduleAlpha, moduleRank));
  }

  /**
   * The configuration of a PiSSA slab: twice the rank, every alpha rescaled so that gamma stays (x
   * 2, with RoRA x sqrt 2).
   */
  public AdapterConfig doubled() {
    double factor = scaling == ScalingRule.RORA ? Math.sqrt(2) : 2;
    Map<String, Integer> ranks = new LinkedHashMap<>(rankPattern);
    Map<String, Double> alphas = new LinkedHashMap<>(alphaPattern);
    ranks.replaceAll((key, value) -> 2 * value);
    alphas.replaceAll((key, value) -> factor * value);
    return new AdapterConfig(
        baseModel, scaling, dora, 2 * rank, factor * alpha, dropout, targets, ranks, alphas);
  }

  /** Returns this configuration under another base model's name. */
  public AdapterConfig withBaseModel(String name) {
    return new AdapterConfig(
        name, scaling, dora, rank, alpha, dropout, targets, rankPattern, alphaPattern);
  }

  /** Returns this configuration with patterns in place of its own. */
  public AdapterConfig withPatterns(Map<String, Integer> ranks, Map<String, Double> alphas) {
    return new AdapterConfig(
        baseModel, scaling, dora, rank, alpha, dropout, targets, ranks, alphas);
  }

  /**
   * The same configuration as a file with sorted keys can say it: where sorting the patterns would
   * let another key win, they are spelled out for each module, and so are targets that are not a
   * plain list of names.
   */
  AdapterConfig canonical(List<AdapterModule> modules) {
    AdapterConfig sorted = withPatterns(new TreeMap<>(rankPattern), new TreeMap<>(alphaPattern));
    boolean same =
        modules.stream()
            .allMatch(m -> sorted.module(m.path(), m.outFeatures(), m.inFeatures()).equals(m));
    AdapterConfig result = same ? sorted : spelledOut(modules);
    if (targets.isPlainList()) {
      return result;
    }
    TargetModules paths =
        TargetModules.named(modules.stream().map(AdapterModule::path).sorted().toList());
    return new AdapterConfig(
        baseModel,
        scaling,
        dora,
        rank,
        alpha,
        dropout,
        paths,
        result.rankPattern,
        result.alphaPattern);
  }

  private AdapterConfig spelledOut(List<AdapterModule> modules) {
    Map<String, Integer> ranks = new TreeMap<>();
    Map<String, Double> alphas = new TreeMap<>();
    for (AdapterModule module : modules) {
      ranks.put(module.path(), module.rank());
      alphas.put(module.path(), module.alpha());
    }
    return withPatterns(ranks, alphas);
  }

  static String pathOf(ModelTensor tensor) {
    String name = tensor.name();
    return name.substring(0, name.lastIndexOf('.'));
  }

  /** Whether a key of {@link #rankPattern} or {@link #alphaPattern} speaks for a module. */
  public static boolean speaksFor(String key, String path) {
    return PathRegex.matches("(.*\\.)?(" + key + ")", path);
  }

  private static <V> V byPattern(Map<String, V> pattern, String path, V otherwise) {
    for (Map.Entry<String, V> entry : pattern.entrySet()) {
      if (speaksFor(entry.getKey(), path)) {
        return entry.getValue();
      }
    }
    return otherwise;
  }

  private static void checkRank(String what, int rank) {
    if (rank < 1 || rank > MAX_RANK) {
      throw new IllegalArgumentException(what + "=" + rank + ": must be from 1 to " + MAX_RANK);
    }
  }

  private static void checkAlpha(String what, double alpha) {
    if (!(alpha > 0 && alpha < 1e9)) {
      throw new IllegalArgumentException(what + "=" + alpha + ": must be above 0 and below 1e9");
    }
  }

  private static String checkKey(String key) {
    try {
      Pattern.compile(key);
    } catch (PatternSyntaxException e) {
      throw new IllegalArgumentException(
          "pattern key \"" + key + "\" is not a regular expression: " + e.getDescription());
    }
    return key;
  }
}
