package io.rora.benchmarks;

import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalDouble;
import java.util.TreeMap;
import java.util.function.ToDoubleFunction;

/** What a set of measurements says: ratios, means, shares of the peak, growth. */
final class Analysis {
  /** The peers in the order of the tables. */
  static final List<String> PEERS = List.of(Peers.LIBTORCH, Peers.ONEDNN, Peers.OPENBLAS);

  private final List<Measurement> all;
  private final List<Comparison> comparisons;

  /** Ours of one operator and size, and the others' by implementation. */
  record Comparison(Measurement ours, Map<String, Measurement> others) {
    /** How many times as long another takes. */
    OptionalDouble ratio(String impl) {
      Measurement other = others.get(impl);
      return other == null ? OptionalDouble.empty() : OptionalDouble.of(ours.ratio(other));
    }
  }

  /** A peer's ratios: their geometric mean, and the least and where it is. */
  record Summary(String peer, String group, int count, double mean, double least, String where) {}

  /** A series of training steps that differ in one size. */
  record Growth(String over, String what, List<Fit.Point> points, Fit fit) {}

  Analysis(List<Measurement> measurements) {
    Map<String, Measurement> last = new LinkedHashMap<>();
    measurements.forEach(m -> last.put(m.work() + m.impl(), m));
    all = List.copyOf(last.values());
    Map<String, Map<String, Measurement>> byWork = new LinkedHashMap<>();
    for (Measurement m : all) {
      byWork.computeIfAbsent(m.work(), key -> new LinkedHashMap<>()).put(m.impl(), m);
    }
    comparisons = new ArrayList<>();
    byWork
        .values()
        .forEach(
            sides -> {
              Measurement ours = sides.remove(Peers.RORA);
              if (ours != null) {
                comparisons.add(new Comparison(ours, sides));
              }
            });
  }

  /** Every operator and size that ours was measured at, in their order. */
  List<Comparison> comparisons() {
    return comparisons;
  }

  /** FLOP per second that the cores reach at most. */
  OptionalDouble peak(String dtype) {
    return best("Peak", dtype);
  }

  /** Bytes per second that the memory gives. */
  OptionalDouble bandwidth() {
    return best("Bandwidth", "");
  }

  private OptionalDouble best(String operator, String dtype) {
    return all.stream()
        .filter(m -> m.operator().equals(operator) && m.parameter("dtype").equals(dtype))
        .flatMap(m -> m.perSecond().stream())
        .mapToDouble(Double::doubleValue)
        .max();
  }

  /** The share of the peak in a linear layer's dense product, as the bars count it. */
  OptionalDouble shareOfPeak(Measurement ours) {
    double flop = Work.of(ours).baseFlop();
    OptionalDouble peak = peak(ours.parameter("dtype"));
    return flop == 0 || peak.isEmpty()
        ? OptionalDouble.empty()
        : OptionalDouble.of(flop / ours.best() / peak.getAsDouble());
  }

  /** Means of the ratios to each peer, of linear layers by type and of everything else. */
  List<Summary> summaries() {
    List<Summary> summaries = new ArrayList<>();
    for (String peer : PEERS) {
      Map<String, List<Comparison>> groups = new TreeMap<>();
      for (Comparison c : comparisons) {
        if (c.others().containsKey(peer)) {
          groups.computeIfAbsent(group(c.ours()), key -> new ArrayList<>()).add(c);
        }
      }
      groups.forEach((group, members) -> summaries.add(summary(peer, group, members)));
    }
    return summaries;
  }

  private static String group(Measurement m) {
    return m.operator().startsWith("Linear") ? "linear " + m.parameter("dtype") : "other operators";
  }

  private static Summary summary(String peer, String group, List<Comparison> members) {
    double logarithms = 0;
    double least = Double.POSITIVE_INFINITY;
    String where = "";
    for (Comparison c : members) {
      double ratio = c.ratio(peer).getAsDouble();
      logarithms += Math.log(ratio);
      if (ratio < least) {
        least = ratio;
        where = c.ours().operator() + " " + size(c.ours());
      }
    }
    double mean = Math.exp(logarithms / members.size());
    return new Summary(peer, group, members.size(), mean, least, where);
  }

  /** The sizes of a measurement in words. */
  static String size(Measurement m) {
    List<String> words = new ArrayList<>();
    for (String name :
        new String[] {"model", "shape", "tokens", "documents", "parameters", "rank", "dtype"}) {
      String value = m.parameter(name);
      if (m.operator().equals("Adamw") && !name.equals("parameters")) {
        continue;
      }
      if (!value.isEmpty()) {
        words.add(
            switch (name) {
              case "model" -> value.toLowerCase(Locale.ROOT);
              case "shape", "dtype" -> value;
              default -> name + " " + value;
            });
      }
    }
    if (m.number("layers") > 0) {
      words.add("layers " + m.parameter("layers"));
    }
    return String.join(", ", words);
  }

  /** How the time of a training step grows: over documents, and over parameters. */
  List<Growth> growth() {
    Map<String, List<Measurement>> byDocuments = new LinkedHashMap<>();
    Map<String, List<Measurement>> byParameters = new LinkedHashMap<>();
    for (Comparison c : comparisons) {
      Measurement m = c.ours();
      if (m.operator().equals("TrainingStep")) {
        int length = m.number("tokens") / m.number("documents");
        String common = ", rank " + m.parameter("rank") + ", " + m.parameter("dtype");
        String model = m.parameter("model").toLowerCase(Locale.ROOT);
        int layers = m.number("layers");
        add(
            byDocuments,
            model
                + (layers == 0 ? "" : " of " + layers + " layers")
                + (", " + length + " tokens each" + common),
            m);
        add(byParameters, m.parameter("tokens") + " tokens of " + length + common, m);
      }
    }
    List<Growth> growth = new ArrayList<>();
    byDocuments.forEach(
        (what, members) ->
            growth("documents", what, members, m -> m.number("documents")).ifPresent(growth::add));
    byParameters.forEach(
        (what, members) ->
            growth("parameters", what, members, Analysis::parameters).ifPresent(growth::add));
    return growth;
  }

  private static void add(Map<String, List<Measurement>> groups, String key, Measurement m) {
    groups.computeIfAbsent(key, k -> new ArrayList<>()).add(m);
  }

  /** Three sizes make a line that could be wrong. */
  private static Optional<Growth> growth(
      String over, String what, List<Measurement> members, ToDoubleFunction<Measurement> size) {
    List<Fit.Point> points =
        members.stream()
            .map(m -> new Fit.Point(size.applyAsDouble(m), m.median()))
            .sorted(Comparator.comparingDouble(Fit.Point::size))
            .toList();
    return points.stream().mapToDouble(Fit.Point::size).distinct().count() < 3
        ? Optional.empty()
        : Optional.of(new Growth(over, what, points, Fit.of(points)));
  }

  /** The parameters of a training step's model. */
  static double parameters(Measurement step) {
    ModelShape model = ModelShape.valueOf(step.parameter("model"));
    int layers = step.number("layers");
    return model.parameters(layers == 0 ? model.layers : layers);
  }

  /** What is known of the machine, a line each; empty for runs of plain JMH. */
  List<String> machine() {
    for (Measurement m : all) {
      for (String argument : m.jvmArguments()) {
        if (argument.startsWith(Machine.PROPERTY)) {
          return List.of(argument.substring(Machine.PROPERTY.length()).split("; ", -1));
        }
      }
    }
    return List.of();
  }
}
