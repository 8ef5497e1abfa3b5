/** JMH benchmarks of the kernels: {@code java -jar benchmarks/target/rora-bench.jar}. */
package io.rora.benchmarks;
