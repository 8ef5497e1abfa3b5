package io.rora.benchmarks;

import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;

/** What {@link Peak} and {@link Bandwidth} find, as a counter of JMH's. */
@State(Scope.Thread)
@AuxCounters(AuxCounters.Type.EVENTS)
public class Rate {
  /** Flops or bytes of a second. */
  public double perSecond;

  /** JMH makes one. */
  public Rate() {}
}
