package io.rora.train;

import io.rora.adapter.AdapterConfig;
import io.rora.adapter.AdapterInit;
import io.rora.adapter.AdapterModule;
import io.rora.adapter.TargetModules;
import io.rora.config.ModelConfig;
import io.rora.kernels.ScalingRule;
import io.rora.model.ModelTensor;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.UnaryOperator;

/**
 * What the user said about the adapter; what he did not say is empty and takes its default, or with
 * {@code initAdapter} that adapter's value.
 *
 * @param method rora, lora, dora or full
 * @param scaling of DoRA
 * @param rank of modules without a pattern
 * @param alpha of modules without a pattern
 * @param rankPattern ranks by regex, the first that matches wins
 * @param alphaPattern alphas likewise
 * @param targetModules names, or {@code all-linear}
 * @param init how the adapter starts
 * @param initAdapter an adapter whose tensors it starts from
 */
public record AdapterOptions(
    Optional<Method> method,
    Optional<ScalingRule> scaling,
    Optional<Integer> rank,
    Optional<Double> alpha,
    Optional<Map<String, Integer>> rankPattern,
    Optional<Map<String, Double>> alphaPattern,
    Optional<List<String>> targetModules,
    Optional<AdapterInit> init,
    Optional<Path> initAdapter) {
  /** The default of {@code --target-modules}. */
  public static final List<String> DEFAULT_TARGETS =
      List.of("q_proj", "k_proj", "v_proj", "up_proj", "down_proj");

  private static final int DEFAULT_RANK = 32;
  private static final double DEFAULT_ALPHA = 64;

  /** Checks what the options alone show to be wrong. */
  public AdapterOptions {
    boolean dora = method.orElse(Method.RORA) == Method.DORA;
    if (scaling.isPresent() && !dora && initAdapter.isEmpty()) {
      throw new IllegalArgumentException(
          "--scaling is for --method dora; rora and lora fix their own scaling");
    }
    if (init.isPresent() && initAdapter.isPresent()) {
      throw new IllegalArgumentException(
          "--init and --init-adapter both say how the adapter starts: give one of them");
    }
    checkFull(method, scaling, rank, alpha, targetModules, init, initAdapter);
    if (isFull(method) && (rankPattern.isPresent() || alphaPattern.isPresent())) {
      throw withFull("--rank-pattern and --alpha-pattern");
    }
    if (targetModules.isPresent() && targetModules.get().isEmpty()) {
      throw new IllegalArgumentException("--target-modules is empty: name at least one module");
    }
    defaults(method, scaling, rank, alpha, rankPattern, alphaPattern, targetModules);
  }

  private static void checkFull(
      Optional<Method> method,
      Optional<ScalingRule> scaling,
      Optional<Integer> rank,
      Optional<Double> alpha,
      Optional<List<String>> targetModules,
      Optional<AdapterInit> init,
      Optional<Path> initAdapter) {
    if (!isFull(method)) {
      return;
    }
    Map<String, Optional<?>> options =
        Map.of(
            "--scaling", scaling,
            "--rank", rank,
            "--alpha", alpha,
            "--target-modules", targetModules,
            "--init", init,
            "--init-adapter", initAdapter);
    options.forEach(
        (name, value) -> {
          if (value.isPresent()) {
            throw withFull(name);
          }
        });
  }

  private static boolean isFull(Optional<Method> method) {
    return method.isPresent() && method.get() == Method.FULL;
  }

  static IllegalArgumentException withFull(String name) {
    return new IllegalArgumentException(
        name + " speaks of an adapter, and --method full trains none: leave it out");
  }

  /** Whether the whole model is trained. */
  public boolean full() {
    return isFull(method);
  }

  /** How the adapter starts where it does not start from another. */
  public AdapterInit initOrDefault() {
    return init.orElse(AdapterInit.KAIMING);
  }

  /**
   * The adapter's configuration for a model.
   *
   * @param start the configuration of {@code initAdapter}, or null
   * @param baseModel what adapter_config.json calls the model
   * @throws IllegalArgumentException if an option says otherwise than {@code start}, or targets
   *     name nothing
   */
  AdapterConfig resolve(ModelConfig model, AdapterConfig start, String baseModel) {
    if (start == null) {
      AdapterConfig config =
          defaults(method, scaling, rank, alpha, rankPattern, alphaPattern, targetModules);
      requireTargets(config, model);
      return config.withBaseModel(baseModel);
    }
    requireSame("--method", model, start, this::withMethod, method.isPresent());
    requireSame("--scaling", model, start, this::withScaling, scaling.isPresent());
    requireSame("--rank", model, start, this::withRank, rank.isPresent());
    requireSame("--alpha", model, start, this::withAlpha, alpha.isPresent());
    requireSame("--rank-pattern", model, start, this::withRankPattern, rankPattern.isPresent());
    requireSame("--alpha-pattern", model, start, this::withAlphaPattern, alphaPattern.isPresent());
    requireSame("--target-modules", model, start, this::withTargets, targetModules.isPresent());
    return start.withBaseModel(baseModel);
  }

  private static AdapterConfig defaults(
      Optional<Method> method,
      Optional<ScalingRule> scaling,
      Optional<Integer> rank,
      Optional<Double> alpha,
      Optional<Map<String, Integer>> rankPattern,
      Optional<Map<String, Double>> alphaPattern,
      Optional<List<String>> targetModules) {
    Method chosen = method.orElse(Method.RORA);
    ScalingRule rule = chosen == Method.RORA ? ScalingRule.RORA : scaling.orElse(ScalingRule.LORA);
    return new AdapterConfig(
        null,
        rule,
        chosen == Method.DORA,
        rank.orElse(DEFAULT_RANK),
        alpha.orElse(DEFAULT_ALPHA),
        0,
        TargetModules.named(targetModules.orElse(DEFAULT_TARGETS)),
        rankPattern.orElse(Map.of()),
        alphaPattern.orElse(Map.of()));
  }

  private static void requireTargets(AdapterConfig config, ModelConfig model) {
    List<String> paths = new ArrayList<>();
    for (ModelTensor tensor : ModelTensor.of(model)) {
      if (tensor.role() == ModelTensor.Role.PROJECTION) {
        paths.add(tensor.name().substring(0, tensor.name().lastIndexOf('.')));
      }
    }
    for (String name : config.targets().names()) {
      if (paths.stream().noneMatch(p -> p.equals(name) || p.endsWith("." + name))) {
        throw new IllegalArgumentException(
            "--target-modules: the model has no projection called "
                + name
                + "; use q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj or all-linear");
      }
    }
  }

  /** An option may repeat what the adapter says; compared by what comes of it for each module. */
  private static void requireSame(
      String option,
      ModelConfig model,
      AdapterConfig start,
      UnaryOperator<AdapterConfig> change,
      boolean given) {
    if (!given) {
      return;
    }
    AdapterConfig changed = change.apply(start);
    List<AdapterModule> wanted = changed.modules(model);
    List<AdapterModule> there = start.modules(model);
    boolean same = wanted.size() == there.size() && changed.dora() == start.dora();
    for (int i = 0; same && i < wanted.size(); i++) {
      AdapterModule a = wanted.get(i);
      AdapterModule b = there.get(i);
      same = a.path().equals(b.path()) && a.rank() == b.rank() && a.gamma() == b.gamma();
    }
    if (!same) {
      throw new IllegalArgumentException(
          option
              + " says otherwise than the adapter that --init-adapter names; leave it out, the"
              + " adapter's configuration holds");
    }
  }

  private AdapterConfig withMethod(AdapterConfig c) {
    ScalingRule rule =
        switch (method.orElseThrow()) {
          case RORA -> ScalingRule.RORA;
          case LORA -> ScalingRule.LORA;
          default -> c.scaling();
        };
    return with(c, rule, method.orElseThrow() == Method.DORA, c.rank(), c.alpha(), c.targets());
  }

  private AdapterConfig withScaling(AdapterConfig c) {
    return with(c, scaling.orElseThrow(), c.dora(), c.rank(), c.alpha(), c.targets());
  }

  private AdapterConfig withRank(AdapterConfig c) {
    return with(c, c.scaling(), c.dora(), rank.orElseThrow(), c.alpha(), c.targets());
  }

  private AdapterConfig withAlpha(AdapterConfig c) {
    return with(c, c.scaling(), c.dora(), c.rank(), alpha.orElseThrow(), c.targets());
  }

  private AdapterConfig withTargets(AdapterConfig c) {
    TargetModules targets = TargetModules.named(targetModules.orElseThrow());
    return with(c, c.scaling(), c.dora(), c.rank(), c.alpha(), targets);
  }

  private AdapterConfig withRankPattern(AdapterConfig c) {
    return c.withPatterns(rankPattern.orElseThrow(), c.alphaPattern());
  }

  private AdapterConfig withAlphaPattern(AdapterConfig c) {
    return c.withPatterns(c.rankPattern(), alphaPattern.orElseThrow());
  }

  private static AdapterConfig with(
      AdapterConfig c,
      ScalingRule scaling,
      boolean dora,
      int rank,
      double alpha,
      TargetModules targets) {
    return new AdapterConfig(
        c.baseModel(),
        scaling,
        dora,
        rank,
        alpha,
        c.dropout(),
        targets,
        c.rankPattern(),
        c.alphaPattern());
  }
}
