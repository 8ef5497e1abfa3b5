/**
 * JMH benchmarks of the kernels and of whole training steps, beside the same work done by other
 * libraries: {@code java -jar benchmarks/target/rora-bench.jar}; see docs/benchmarks.md.
 */
package io.rora.benchmarks;
