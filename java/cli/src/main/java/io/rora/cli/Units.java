package io.rora.cli;

import java.util.Locale;

/** Numbers as people read them; the same in every locale. */
final class Units {
  private Units() {}

  /** {@code 1.5 GB}, in powers of 1000. */
  static String bytes(long bytes) {
    return scaled(bytes, " B", " kB", " MB", " GB", " TB");
  }

  /** {@code 134.5 M}, in powers of 1000. */
  static String count(long count) {
    return scaled(count, "", " k", " M", " G", " T");
  }

  private static String scaled(long number, String... units) {
    double value = number;
    int unit = 0;
    while (value >= 999.95 && unit < units.length - 1) {
      value /= 1000;
      unit++;
    }
    return unit == 0 ? number + units[0] : format("%.1f", value) + units[unit];
  }

  /** {@code 1:02:03} or {@code 2:03}. */
  static String duration(double seconds) {
    if (!(seconds < 1e9)) {
      return "?";
    }
    long s = Math.round(seconds);
    return s >= 3600
        ? format("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60)
        : format("%d:%02d", s / 60, s % 60);
  }

  /** {@code 12.3 %} of a share from 0 to 1. */
  static String percent(double share) {
    return format("%.1f %%", 100 * share);
  }

  /** {@link String#format} with a decimal point, whatever the locale says. */
  static String format(String format, Object... values) {
    return String.format(Locale.ROOT, format, values);
  }
}
