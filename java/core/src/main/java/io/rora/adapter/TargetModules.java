package io.rora.adapter;

import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Which projections of a model carry an adapter, with the semantics of PEFT's fields {@code
 * target_modules}, {@code exclude_modules}, {@code layers_to_transform} and {@code layers_pattern}.
 *
 * @param names module names: whole paths, or what stands after a dot of the path; empty with a
 *     regex
 * @param regex must match the whole path; null unless the field is a string
 * @param allLinear every projection ({@code all-linear})
 * @param excluded names that win over the targets
 * @param excludedRegex a regex that wins over the targets, or null
 * @param layers layer numbers; empty for all. They restrict names only, as in PEFT.
 * @param layersPatterns what stands before the layer's number in a path; empty for anything
 */
public record TargetModules(
    List<String> names,
    String regex,
    boolean allLinear,
    List<String> excluded,
    String excludedRegex,
    List<Integer> layers,
    List<String> layersPatterns) {
  /** The name that stands for every projection. */
  public static final String ALL_LINEAR = "all-linear";

  private static final Pattern FIRST_NUMBER = Pattern.compile(".*?\\.[^.]*\\.(\\d+)\\..*");

  /** Copies the lists. */
  public TargetModules {
    names = List.copyOf(names);
    excluded = List.copyOf(excluded);
    layers = List.copyOf(layers);
    layersPatterns = List.copyOf(layersPatterns);
  }

  /** Modules by name; {@code all-linear} alone means every projection. */
  public static TargetModules named(List<String> names) {
    if (names.equals(List.of(ALL_LINEAR))) {
      return new TargetModules(List.of(), null, true, List.of(), null, List.of(), List.of());
    }
    return new TargetModules(names, null, false, List.of(), null, List.of(), List.of());
  }

  /** Whether the projection {@code path} carries an adapter. */
  public boolean contains(String path) {
    if ((excludedRegex != null && PathRegex.matches(excludedRegex, path))
        || named(excluded, path)) {
      return false;
    }
    if (allLinear) {
      return true;
    }
    if (regex != null) {
      return PathRegex.matches(regex, path);
    }
    return named(names, path) && (layers.isEmpty() || layers.contains(layerOf(path)));
  }

  /** Whether the targets are a plain list of names, without exclusions or a choice of layers. */
  boolean isPlainList() {
    return !allLinear
        && regex == null
        && excluded.isEmpty()
        && excludedRegex == null
        && layers.isEmpty();
  }

  private static boolean named(List<String> names, String path) {
    return names.stream().anyMatch(name -> path.equals(name) || path.endsWith("." + name));
  }

  /** Returns the layer's number, or -1 where the path has none. */
  private int layerOf(String path) {
    for (String pattern : layersPatterns) {
      Matcher matcher =
          PathRegex.matcher("(?:.*?\\.)?(?:" + pattern + ")\\.(?<layer>\\d+)\\..*", path);
      if (matcher.matches()) {
        return Integer.parseInt(matcher.group("layer"));
      }
    }
    Matcher matcher = FIRST_NUMBER.matcher(path);
    return layersPatterns.isEmpty() && matcher.matches() ? Integer.parseInt(matcher.group(1)) : -1;
  }
}
