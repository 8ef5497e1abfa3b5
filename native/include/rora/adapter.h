#ifndef RORA_ADAPTER_H
#define RORA_ADAPTER_H

#include "rora/weight.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A low-rank adapter of one projection:  W + scaling lora_B lora_A  (arXiv:2106.09685), scaling
 * being alpha / rank for LoRA and alpha / sqrt(rank) for RoRA (arXiv:2501.04315; the arithmetic of
 * rsLoRA, arXiv:2312.03732). With a magnitude it is DoRA (arXiv:2402.09353): row n of V = W +
 * scaling B A is multiplied by magnitude[n] / |V[n]|, the norm being detached from the gradient
 * (section 4.3 there).
 */
typedef struct rora_adapter rora_adapter;

/**
 * Makes an adapter over float memory from rora_alloc, which the caller owns and which must outlive
 * it.
 *
 * @param lora_A     [rank, in_features], its gradient of the same shape
 * @param lora_B     [out_features, rank], its gradient likewise
 * @param magnitude  [out_features] for DoRA, else NULL; its gradient likewise
 * @param scaling    gamma, finite
 * Gradients may be NULL together: then the adapter is not trained and backward calls skip them.
 */
RORA_API rora_status rora_adapter_create(rora_context* context, int64_t out_features,
                                         int64_t in_features, int64_t rank, float scaling,
                                         const float* lora_A, const float* lora_B,
                                         const float* magnitude, float* lora_A_gradient,
                                         float* lora_B_gradient, float* magnitude_gradient,
                                         rora_adapter** adapter);

/** Destroys an adapter; its tensors stay the caller's. NULL does nothing. */
RORA_API void rora_adapter_destroy(rora_adapter* adapter);

/**
 * PiSSA's trained half of a frozen pair: only the first `rows` rows of lora_A and columns of lora_B
 * receive gradients; the rest stay at zero gradient. rows = rank (the default) trains all.
 */
RORA_API rora_status rora_adapter_train_rank(rora_adapter* adapter, int64_t rows);

/**
 * Tells the adapter that its tensors changed (after loading or an optimiser step). With DoRA it
 * recomputes |V[n]| from |W[n]|^2 + 2 g (W A^T)[n] . B[n] + g^2 B[n] (A A^T) B[n]^T, without a
 * scratch of out x in. |W[n]|^2 is summed in double, once for what the weight holds; W A^T and A
 * A^T are float dot products (within (in + 4) 2^-24 of their absolute sums), the rest is double. A
 * row of V that is zero gets the scale 0 and its magnitude no gradient.
 */
RORA_API rora_status rora_adapter_refresh(rora_adapter* adapter, const rora_weight* weight);

/** Copies |V[n]| (DoRA, after refresh) to `norms` [out_features] on the host. */
RORA_API rora_status rora_adapter_norms(const rora_adapter* adapter, float* norms);

/** Sum of squares of each row of the weight's, as square roots, to host `norms` [out_features]. */
RORA_API rora_status rora_weight_row_norms(const rora_weight* weight, float* norms);

#ifdef __cplusplus
}
#endif

#endif
