#ifndef RORA_BATCH_H
#define RORA_BATCH_H

#include "rora/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/** What the operators must know of the tokens of one packed micro batch. */
typedef struct rora_batch rora_batch;

/** Makes an empty batch for up to `max_tokens` tokens. */
RORA_API rora_status rora_batch_create(rora_context* context, int64_t max_tokens,
                                       rora_batch** batch);

/** Destroys a batch. NULL does nothing. */
RORA_API void rora_batch_destroy(rora_batch* batch);

/**
 * Fills a batch from host arrays of `tokens` elements each. Documents lie one after the other;
 * nothing crosses from one to the next.
 *
 * @param ids        token ids, >= 0
 * @param labels     the id that token t must predict (already shifted), or -100 for none; NULL:
 * none
 * @param positions  position in the token's own document, from 0, for RoPE
 * @param begins     the row of the key/value matrix where the token's document begins: the token
 *                   attends to rows begins[t] .. begins[t] + positions[t]. In training rows are the
 *                   batch's own tokens; with a cache they are the cache's (rora_attention_cached).
 * @param order      the token's number within the whole optimiser batch, the counter of dropout;
 *                   NULL: t
 */
RORA_API rora_status rora_batch_fill(rora_batch* batch, int64_t tokens, const int32_t* ids,
                                     const int32_t* labels, const int32_t* positions,
                                     const int32_t* begins, const int32_t* order);

#ifdef __cplusplus
}
#endif

#endif
