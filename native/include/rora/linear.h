#ifndef RORA_LINEAR_H
#define RORA_LINEAR_H

#include "rora/activation.h"
#include "rora/adapter.h"
#include "rora/batch.h"
#include "rora/weight.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A group of projections that read the same input (q/k/v, gate/up, or a single one), with an
 * optional adapter each. Its output is one activation in which the projections stand side by side,
 * each from an even column on (rora_linear_column). For one projection:
 *
 *   Y = X W^T + bias + s (X A^T) B^T      is one reduction  [X | H'] [W | B]^T,  H' = s X A^T
 *   dX = dY W + s (dY B) A                is one reduction  [dY | G'] [W ; A],   G' = s dY B
 *   dA = G'^T X      dB = dY^T H'
 *
 * H' lives in the tail of X and G' in the tail of dY, so an activation that a group reads or whose
 * gradient it receives needs a tail of rora_linear_tail(). With dropout p the adapter sees
 * (m o X) / (1 - p), m a mask of its own for each projection, made by Philox4x32-10 from (seed,
 * step, stream, token order, feature) and never stored.
 */
typedef struct rora_linear rora_linear;

/** Makes a group of 1..4 projections without biases or adapters; weights must outlive it. */
RORA_API rora_status rora_linear_create(rora_context* context, int32_t projections,
                                        rora_linear** linear);

/** Destroys a group. NULL does nothing. */
RORA_API void rora_linear_destroy(rora_linear* linear);

/**
 * Sets projection `index` and detaches its adapter. All must have the same in_features.
 * @param bias           [out_features] floats from rora_alloc, or NULL
 * @param bias_gradient  its gradient if it is trained, or NULL
 */
RORA_API rora_status rora_linear_set_weight(rora_linear* linear, int32_t index,
                                            const rora_weight* weight, const float* bias,
                                            float* bias_gradient);

/** Attaches an adapter to projection `index`, or detaches with NULL. The weights stay untouched. */
RORA_API rora_status rora_linear_set_adapter(rora_linear* linear, int32_t index,
                                             const rora_adapter* adapter);

/**
 * Dropout of the adapters' input from now on; probability 0 (the default) is off. Projection i uses
 * mask stream `stream + i`.
 */
RORA_API rora_status rora_linear_set_dropout(rora_linear* linear, float probability, uint64_t seed,
                                             uint64_t step, uint32_t stream);

/** The column where projection `index` starts in the output; at `projections`: its width. */
RORA_API int64_t rora_linear_column(const rora_linear* linear, int32_t index);

/** Tail columns that x and dy need: the sum of the attached ranks, each rounded up to even. */
RORA_API int64_t rora_linear_tail(const rora_linear* linear);

/**
 * y = linear(x), plus `residual` if it is not NULL (which may be y itself). Writes H' into x's tail
 * and resizes y to x's tokens.
 * @param batch  needed with dropout, for its order; else may be NULL
 */
RORA_API rora_status rora_linear_forward(rora_linear* linear, const rora_batch* batch,
                                         rora_activation* x, const rora_activation* residual,
                                         rora_activation* y);

/** Writes only H' into x's tail: for a backward pass that recomputed x. */
RORA_API rora_status rora_linear_shrink(rora_linear* linear, const rora_batch* batch,
                                        rora_activation* x);

/**
 * Backward. Writes G' into dy's tail, adds to the gradients of the adapters (and of trained weights
 * and biases), then computes dx if it is not NULL.
 *
 * @param x           the input, with H' in its tail; not needed (NULL) if nothing here is trained
 * @param dy          gradient of the output
 * @param accumulate  0: dx = ..., else dx += ...
 * @param dx          gradient of the input, or NULL
 */
RORA_API rora_status rora_linear_backward(rora_linear* linear, const rora_batch* batch,
                                          const rora_activation* x, rora_activation* dy,
                                          int32_t accumulate, rora_activation* dx);

/**
 * A linear layer and its adapter on row-major host floats, for other trainers; the same kernels
 * behind a converting boundary:  y = x W^T + scaling (x lora_A^T) lora_B^T.
 *
 * @param weight   W [out_features, in_features], frozen, prepared once
 * @param tokens   rows of x, h and y (batch * sequence length); 0 writes nothing
 * @param scaling  alpha / sqrt(rank) for RoRA (arXiv:2501.04315), alpha / rank for LoRA
 * @param x        [tokens, in_features]
 * @param lora_A   [rank, in_features], lora_B [out_features, rank]
 * @param h        [tokens, rank], receives scaling * x lora_A^T, which the backward pass reads
 * @param y        [tokens, out_features]; h and y must not overlap anything else
 * @return RORA_INVALID_ARGUMENT if a pointer is NULL, a size negative or a stride below its row
 */
RORA_API rora_status rora_linear_forward_f32(rora_context* context, const rora_weight* weight,
                                             int64_t tokens, int64_t rank, float scaling,
                                             const float* x, int64_t ldx, const float* lora_A,
                                             int64_t lda, const float* lora_B, int64_t ldb,
                                             float* h, int64_t ldh, float* y, int64_t ldy);

/**
 * The gradients of rora_linear_forward_f32.
 *
 * @param h    as the forward pass wrote it
 * @param dy   [tokens, out_features]
 * @param dA   [rank, in_features] and dB [out_features, rank], overwritten
 * @param dx   [tokens, in_features], overwritten; NULL if it is not wanted
 */
RORA_API rora_status rora_linear_backward_f32(rora_context* context, const rora_weight* weight,
                                              int64_t tokens, int64_t rank, float scaling,
                                              const float* x, int64_t ldx, const float* lora_A,
                                              int64_t lda, const float* lora_B, int64_t ldb,
                                              const float* h, int64_t ldh, const float* dy,
                                              int64_t lddy, float* dA, int64_t ldda, float* dB,
                                              int64_t lddb, float* dx, int64_t lddx);

#ifdef __cplusplus
}
#endif

#endif
