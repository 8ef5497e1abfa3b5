#ifndef RORA_MEASURE_H
#define RORA_MEASURE_H

#include "rora/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * Measures the arithmetic peak: FLOP per second of a loop that multiplies and adds in registers
 * alone, on all threads of the context at once, with the instruction that the context's kernels use
 * for this type (bf16: a product of bf16 pairs where the level has one, else the float32 loop). The
 * sum of each thread's best millisecond of a fifth of a second, in which all are busy.
 *
 * @param dtype RORA_F32 or RORA_BF16
 * @param flops receives FLOP per second, an addition and a multiplication counted as two
 */
RORA_API rora_status rora_measure_peak(rora_context* context, rora_dtype dtype, double* flops);

/**
 * Measures the memory's bandwidth: bytes per second of reading a buffer from end to end, each
 * thread of the context its own part, nothing written. The best of eight passes.
 *
 * @param bytes of the buffer, allocated for the call, at least 1 MiB; to see memory and no cache,
 * several times the last level's. 0 takes four times of what the system says that is, at least
 * 256 MiB.
 * @param bytes_per_second receives the bandwidth
 * @return RORA_OUT_OF_MEMORY if there is no room for the buffer
 */
RORA_API rora_status rora_measure_bandwidth(rora_context* context, int64_t bytes,
                                            double* bytes_per_second);

#ifdef __cplusplus
}
#endif

#endif
