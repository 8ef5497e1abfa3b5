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
 * What the linear operators on row-major memory need besides their arguments: x, y and dx in the
 * kernels' layout, and tight copies of adapter tensors that are not tight. It grows to the largest
 * call and serves any number of layers of one context; tokens (rounded up to 64) times (2
 * in_features + out_features + 2 rank, each rounded up to even) elements of the type computed in,
 * beside the copies.
 */
typedef struct rora_row_workspace rora_row_workspace;

/** Makes an empty workspace. */
RORA_API rora_status rora_row_workspace_create(rora_context* context,
                                               rora_row_workspace** workspace);

/** Destroys a workspace. NULL does nothing. */
RORA_API void rora_row_workspace_destroy(rora_row_workspace* workspace);

/**
 * A linear layer and its adapter on row-major memory of somebody else's:
 *
 *   y = x W^T + h lora_B^T,   h = scaling x lora_A^T
 *
 * The memory may come from anywhere (a direct ByteBuffer, another library's tensor) and need only
 * be aligned to its elements; on a GPU it is the device's, and the work is queued on the context's
 * stream (rora_context_use_stream). Rows are copied into the kernels' layout and back at the speed
 * of memory; between that, the operators are those of rora_linear, and so are the bits of the
 * results.
 *
 * @param weight   W [out_features, in_features], frozen, prepared once
 * @param compute  what the kernels see of x and y: RORA_F32, or RORA_BF16, which is the fast one
 *                 with a bf16 weight: then x, h and y are rounded to bf16, sums stay in fp32
 * @param tokens   rows of x, h and y; 0 writes nothing
 * @param rank     of the adapter; 0 is the bare layer, whose lora_A, lora_B and h are not looked at
 * @param scaling  alpha / sqrt(rank) for RoRA (arXiv:2501.04315), alpha / rank for LoRA; finite
 * @param dtype    of the caller's x and y, RORA_F32 or RORA_BF16
 * @param x        [tokens, in_features], rows `ldx` elements apart (so for all matrices)
 * @param lora_A   [rank, in_features], lora_B [out_features, rank], floats; read where they lie if
 *                 they are tight (lda == in_features, ldb == rank)
 * @param h        [tokens, rank] floats, which the backward pass reads
 * @param y        [tokens, out_features]; h and y must not overlap anything else
 * @return RORA_INVALID_ARGUMENT if a pointer is NULL, not aligned to its elements or of memory that
 *         the device cannot reach, a size is negative or a stride below its row; then nothing was
 *         written
 */
RORA_API rora_status rora_linear_forward_rows(
    rora_row_workspace* workspace, const rora_weight* weight, rora_dtype compute, int64_t tokens,
    int64_t rank, float scaling, rora_dtype dtype, const void* x, int64_t ldx, const float* lora_A,
    int64_t lda, const float* lora_B, int64_t ldb, float* h, int64_t ldh, void* y, int64_t ldy);

/** What rora_linear_backward_rows adds to instead of overwriting it; may be combined. */
typedef enum rora_row_sums {
  RORA_OVERWRITE = 0,
  RORA_ADD_TO_ADAPTER = 1, /**< dA += ..., dB += ... */
  RORA_ADD_TO_INPUT = 2    /**< dx += ... */
} rora_row_sums;

/**
 * The gradients of rora_linear_forward_rows:
 *
 *   dx = dy W + g lora_A,   g = scaling dy lora_B,   dA = g^T x,   dB = dy^T h
 *
 * The weight must not be trained (rora_weight_train).
 *
 * @param x     [tokens, in_features] and h [tokens, rank] of the forward pass; not looked at
 * without dA and dB
 * @param dy    [tokens, out_features]
 * @param sums  RORA_OVERWRITE, or the sum of what is to be added to. With 0 tokens what is
 *              overwritten of dA and dB becomes zero
 * @param dA    [rank, in_features] and dB [out_features, rank], floats; NULL together if they are
 *              not wanted, and ignored where the rank is 0
 * @param dx    [tokens, in_features] of `dtype`, or NULL if it is not wanted. Added to in float,
 *              rounded once
 */
RORA_API rora_status rora_linear_backward_rows(
    rora_row_workspace* workspace, const rora_weight* weight, rora_dtype compute, int64_t tokens,
    int64_t rank, float scaling, rora_dtype dtype, const void* x, int64_t ldx, const float* lora_A,
    int64_t lda, const float* lora_B, int64_t ldb, const float* h, int64_t ldh, const void* dy,
    int64_t lddy, int32_t sums, float* dA, int64_t ldda, float* dB, int64_t lddb, void* dx,
    int64_t lddx);

/**
 * A linear layer and its adapter on row-major floats, for other trainers; the same kernels
 * behind a converting boundary:  y = x W^T + scaling (x lora_A^T) lora_B^T. Its workspace is made
 * and freed by each call; rora_linear_forward_rows keeps one.
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
