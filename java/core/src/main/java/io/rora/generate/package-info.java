/** Text from a model: greedy, sampled or by beams, as a stream. */
package io.rora.generate;
