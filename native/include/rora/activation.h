#ifndef RORA_ACTIVATION_H
#define RORA_ACTIVATION_H

#include "rora/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * What layers exchange: [tokens, width] in the backend's own layout, with room behind the features
 * for the low-rank products of the linear group that reads it (`tail` columns; design: X and H' are
 * one operand of a longer reduction).
 */
typedef struct rora_activation rora_activation;

/** Makes a zero activation for up to `max_tokens` tokens; it starts with 0. `dtype` F32 or BF16. */
RORA_API rora_status rora_activation_create(rora_context* context, rora_dtype dtype,
                                            int64_t max_tokens, int64_t width, int64_t tail,
                                            rora_activation** activation);

/** Destroys an activation. NULL does nothing. */
RORA_API void rora_activation_destroy(rora_activation* activation);

/** Sets the number of tokens, 0 .. max_tokens. Those added are undefined but finite. */
RORA_API rora_status rora_activation_resize(rora_activation* activation, int64_t tokens);

/** The number of tokens. */
RORA_API int64_t rora_activation_tokens(const rora_activation* activation);

/** Bytes that an activation of this shape takes. */
RORA_API int64_t rora_activation_bytes(rora_dtype dtype, int64_t max_tokens, int64_t width,
                                       int64_t tail);

/** Writes row-major host floats into columns [column, column + columns) of all tokens. */
RORA_API rora_status rora_activation_write(rora_activation* activation, int64_t column,
                                           int64_t columns, const float* source, int64_t stride);

/** Reads columns [column, column + columns) of tokens [token, token + tokens) into host floats. */
RORA_API rora_status rora_activation_read(const rora_activation* activation, int64_t token,
                                          int64_t tokens, int64_t column, int64_t columns,
                                          float* target, int64_t stride);

/** target = source (tokens and features, not the tail). Same width; dtypes may differ. */
RORA_API rora_status rora_activation_copy(const rora_activation* source, rora_activation* target);

/** target += source. Same width and tokens. */
RORA_API rora_status rora_activation_add(const rora_activation* source, rora_activation* target);

/** Sets all features of all tokens to zero. */
RORA_API rora_status rora_activation_clear(rora_activation* activation);

/**
 * Copies `count` tokens, source row `source_token + i` to target row `target_token + i`, features
 * only. The target must hold those rows already. Source and target may be the same object if the
 * ranges do not overlap. Used to gather the last token of a prompt and to reorder beams in a
 * key/value cache.
 */
RORA_API rora_status rora_activation_copy_tokens(const rora_activation* source,
                                                 int64_t source_token, rora_activation* target,
                                                 int64_t target_token, int64_t count);

#ifdef __cplusplus
}
#endif

#endif
