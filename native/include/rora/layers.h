#ifndef RORA_LAYERS_H
#define RORA_LAYERS_H

#include "rora/activation.h"
#include "rora/batch.h"
#include "rora/weight.h"

#ifdef __cplusplus
extern "C" {
#endif

/** y[t] = table[ids[t]]; resizes y. An id outside the table is RORA_INVALID_ARGUMENT. */
RORA_API rora_status rora_embedding_forward(const rora_weight* table, const rora_batch* batch,
                                            rora_activation* y);

/** gradient of the table (bound by rora_weight_train) += dy, in the order of the tokens. */
RORA_API rora_status rora_embedding_backward(rora_weight* table, const rora_batch* batch,
                                             const rora_activation* dy);

/**
 * RMSNorm (arXiv:1910.07467):  y = x r weight,  r = 1 / sqrt(mean(x^2) + eps) of each token. With
 * bf16 activations x r is rounded to bf16 before the product, as transformers does.
 * @param weight  [width] floats from rora_alloc
 */
RORA_API rora_status rora_rmsnorm_forward(const rora_activation* x, const float* weight, float eps,
                                          rora_activation* y);

/**
 * dx += r (w o dy - x r^2 mean(x o w o dy)). r is recomputed.
 * @param weight_gradient  [width] floats, added to; NULL if the norm is not trained
 * @param dx               gradient of x, added to: the residual's share is already there
 */
RORA_API rora_status rora_rmsnorm_backward(const rora_activation* x, const float* weight, float eps,
                                           const rora_activation* dy, float* weight_gradient,
                                           rora_activation* dx);

/** Sines and cosines of a rotary embedding. */
typedef struct rora_rope rora_rope;

/**
 * Makes rotary angles (arXiv:2104.09864) for positions [0, positions). Memory is taken only for the
 * positions that are used: rora_rope_apply lengthens its table when it meets a later one.
 * @param inverse_frequencies  head_dim / 2 host floats, scaling (linear, llama3) already applied;
 * the angle is position * inverse_frequency in float, as transformers does
 */
RORA_API rora_status rora_rope_create(rora_context* context, int64_t positions, int64_t head_dim,
                                      const float* inverse_frequencies, rora_rope** rope);

/** Destroys a table. NULL does nothing. */
RORA_API void rora_rope_destroy(rora_rope* rope);

/**
 * Rotates, in place, `heads` heads of head_dim features from column `column` on; in the rotate-half
 * convention of transformers, feature i pairs with i + head_dim / 2.
 * @param inverse  nonzero rotates backwards, which is the gradient
 */
RORA_API rora_status rora_rope_apply(const rora_rope* rope, const rora_batch* batch, int64_t column,
                                     int64_t heads, int32_t inverse, rora_activation* x);

/** y = silu(gate) o up (arXiv:2002.05202); `gate_up` holds gate at column 0, up at `up_column`. */
RORA_API rora_status rora_swiglu_forward(const rora_activation* gate_up, int64_t up_column,
                                         rora_activation* y);

/** The gradients of gate and up, written to d_gate_up, which may be gate_up itself. */
RORA_API rora_status rora_swiglu_backward(const rora_activation* gate_up, int64_t up_column,
                                          const rora_activation* dy, rora_activation* d_gate_up);

/**
 * Causal attention with grouped queries (arXiv:2305.13245) over packed documents, scores scaled by
 * 1 / sqrt(head_dim). `qkv` holds heads * head_dim query columns, then kv_heads * head_dim key
 * columns from `key_column` on and as many value columns from `value_column` on. Token t attends to
 * rows begins[t] .. begins[t] + positions[t] of the same activation.
 */
typedef struct rora_attention_shape {
  int64_t heads;
  int64_t kv_heads; /**< divides heads */
  int64_t head_dim; /**< even */
  int64_t key_column;
  int64_t value_column;
} rora_attention_shape;

/**
 * @param y    [tokens, heads * head_dim]
 * @param lse  [heads, capacity] floats from rora_alloc, capacity being qkv's max_tokens rounded up
 * to 64: the log of the sum of exponentials, which the backward pass reads; or NULL
 */
RORA_API rora_status rora_attention_forward(const rora_attention_shape* shape,
                                            const rora_batch* batch, const rora_activation* qkv,
                                            float* lse, rora_activation* y);

/** Gradient of q, k and v into d_qkv (overwritten). y and lse as the forward pass wrote them. */
RORA_API rora_status rora_attention_backward(const rora_attention_shape* shape,
                                             const rora_batch* batch, const rora_activation* qkv,
                                             const rora_activation* y, const float* lse,
                                             const rora_activation* dy, rora_activation* d_qkv);

/**
 * Attention with a key/value cache. First stores the tokens' keys and values in the cache at rows
 * begins[t] + positions[t] (keys from column 0, values from column kv_heads * head_dim rounded up
 * to even), then token t attends to cache rows begins[t] .. begins[t] + positions[t].
 * @param cache  [rows, 2 * even(kv_heads * head_dim)], resized to all its rows by the caller
 */
RORA_API rora_status rora_attention_cached(const rora_attention_shape* shape,
                                           const rora_batch* batch, const rora_activation* qkv,
                                           rora_activation* cache, rora_activation* y);

#ifdef __cplusplus
}
#endif

#endif
