#ifndef RORA_WEIGHT_H
#define RORA_WEIGHT_H

#include "rora/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * A base weight [out_features, in_features] as the kernels like it. Frozen weights are written once
 * and shared by any number of adapters.
 */
typedef struct rora_weight rora_weight;

/** Makes a zero weight stored as `dtype` (RORA_F32 or RORA_BF16). */
RORA_API rora_status rora_weight_create(rora_context* context, rora_dtype dtype,
                                        int64_t out_features, int64_t in_features,
                                        rora_weight** weight);

/** Destroys a weight. NULL does nothing. */
RORA_API void rora_weight_destroy(rora_weight* weight);

/**
 * Writes rows [row, row + rows) from row-major memory, rounding to nearest even where the storage
 * is narrower. The memory may be the host's or, on a GPU, the device's, which is read on the
 * context's stream; it has been read when this returns.
 *
 * @param source_dtype  RORA_F32, RORA_BF16 or RORA_F16
 * @param stride        elements from one source row to the next, at least in_features
 */
RORA_API rora_status rora_weight_write(rora_weight* weight, int64_t row, int64_t rows,
                                       rora_dtype source_dtype, const void* source, int64_t stride);

/** Reads rows [row, row + rows) into row-major host floats. */
RORA_API rora_status rora_weight_read(const rora_weight* weight, int64_t row, int64_t rows,
                                      float* target, int64_t stride);

/**
 * Binds the float32 master copy and gradient of a weight that is trained (full fine-tuning); both
 * [out_features, in_features] from rora_alloc, owned by the caller, NULL to unbind. Backward calls
 * add to the gradient; rora_weight_refresh brings the master into the weight after an update.
 */
RORA_API rora_status rora_weight_train(rora_weight* weight, float* master, float* gradient);

/** Copies the bound master into the weight's storage. */
RORA_API rora_status rora_weight_refresh(rora_weight* weight);

/** Copies the weight's storage into the bound master. */
RORA_API rora_status rora_weight_to_master(const rora_weight* weight);

#ifdef __cplusplus
}
#endif

#endif
