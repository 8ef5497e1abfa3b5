package io.rora.benchmarks;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * What one implementation of one operator took at one size: an entry of JMH's JSON.
 *
 * @param operator the benchmark's class
 * @param parameters by name
 * @param seconds of one call, in each measured iteration
 * @param perSecond what {@link Peak} and {@link Bandwidth} found, else empty
 * @param jvmArguments of the fork
 */
record Measurement(
    String operator,
    Map<String, String> parameters,
    List<Double> seconds,
    List<Double> perSecond,
    List<String> jvmArguments) {
  private static final String PACKAGE = Measurement.class.getPackageName() + ".";

  /**
   * Reads a file of JMH's.
   *
   * @throws IOException if it is no such file
   */
  static List<Measurement> read(Path file) throws IOException {
    JsonNode root;
    try {
      root = new ObjectMapper().readTree(file.toFile());
    } catch (JsonProcessingException e) {
      String line = e.getLocation() == null ? "" : " from line " + e.getLocation().getLineNr();
      throw new IOException(
          file + ": is not whole JSON" + line + " on; write it again with -rf json -rff FILE", e);
    }
    if (root == null || !root.isArray()) {
      throw new IOException(file + ": is no result of JMH; make one with -rf json -rff FILE");
    }
    List<Measurement> all = new ArrayList<>();
    for (JsonNode entry : root) {
      all.add(of(file, entry));
    }
    return all;
  }

  private static Measurement of(Path file, JsonNode entry) throws IOException {
    String benchmark = entry.path("benchmark").asText();
    JsonNode metric = entry.path("primaryMetric");
    if (!benchmark.startsWith(PACKAGE) || metric.path("rawData").isEmpty()) {
      throw new IOException(
          file + ": the entry \"" + benchmark + "\" is no result of a benchmark of this jar");
    }
    Map<String, String> parameters = new TreeMap<>();
    entry
        .path("params")
        .properties()
        .forEach(p -> parameters.put(p.getKey(), p.getValue().asText()));
    double unit = seconds(file, metric.path("scoreUnit").asText());
    List<String> arguments = new ArrayList<>();
    entry.path("jvmArgs").forEach(argument -> arguments.add(argument.asText()));
    return new Measurement(
        benchmark.substring(PACKAGE.length(), benchmark.lastIndexOf('.')),
        parameters,
        raw(metric, unit),
        raw(entry.path("secondaryMetrics").path("perSecond"), 1),
        arguments);
  }

  private static List<Double> raw(JsonNode metric, double unit) {
    List<Double> values = new ArrayList<>();
    metric
        .path("rawData")
        .forEach(fork -> fork.forEach(value -> values.add(value.asDouble() * unit)));
    return values;
  }

  private static double seconds(Path file, String unit) throws IOException {
    return switch (unit) {
      case "ns/op" -> 1e-9;
      case "us/op" -> 1e-6;
      case "ms/op" -> 1e-3;
      case "s/op" -> 1;
      default ->
          throw new IOException(
              file + ": scores in " + unit + "; run JMH in a mode of time per call: -bm avgt");
    };
  }

  /** A parameter's value; empty if there is none of the name. */
  String parameter(String name) {
    return parameters.getOrDefault(name, "");
  }

  /** A parameter that is a whole number; 0 if there is none of the name. */
  int number(String name) {
    return Integer.parseInt(parameters.getOrDefault(name, "0"));
  }

  /** The implementation. */
  String impl() {
    return parameter("impl");
  }

  /** Everything but the implementation: equal for measurements of the same work. */
  String work() {
    Map<String, String> others = new TreeMap<>(parameters);
    others.remove("impl");
    return operator + others;
  }

  /** The median of the iterations. */
  double median() {
    return median(seconds);
  }

  /** The fastest iteration. */
  double best() {
    return Collections.min(seconds);
  }

  /** The middle value, or the mean of the two. */
  static double median(List<Double> values) {
    List<Double> sorted = values.stream().sorted().toList();
    int size = sorted.size();
    return (sorted.get((size - 1) / 2) + sorted.get(size / 2)) / 2;
  }

  /**
   * How many times as long {@code other} takes. Where both were measured in turn, the median of the
   * rounds' own ratios, so that what disturbs a round disturbs both of its sides.
   */
  double ratio(Measurement other) {
    if (!inTurnWith(other)) {
      return other.median() / median();
    }
    List<Double> ratios = new ArrayList<>();
    for (int i = 0; i < seconds.size(); i++) {
      ratios.add(other.seconds.get(i) / seconds.get(i));
    }
    return median(ratios);
  }

  /** Whether one run of the {@link Suite}, which names itself to its JVMs, has measured both. */
  private boolean inTurnWith(Measurement other) {
    return jvmArguments.stream().anyMatch(argument -> argument.startsWith(Machine.PROPERTY))
        && jvmArguments.equals(other.jvmArguments)
        && seconds.size() == other.seconds.size();
  }
}
