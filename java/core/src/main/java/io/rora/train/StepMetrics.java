package io.rora.train;

/**
 * What a step was like; the fields of a line in metrics.jsonl.
 *
 * @param step from 1
 * @param loss mean cross entropy over the batch's supervised tokens
 * @param gradNorm norm of all gradients before clipping
 * @param learningRate of this step
 * @param tokens of the batch
 * @param supervisedTokens labels after the shift
 * @param seconds wall clock of the step
 * @param tokensPerSecond tokens / seconds
 * @param rssMib peak resident set of the process so far (VmHWM); 0 where it is not known
 */
public record StepMetrics(
    int step,
    double loss,
    double gradNorm,
    double learningRate,
    long tokens,
    long supervisedTokens,
    double seconds,
    double tokensPerSecond,
    double rssMib) {}
