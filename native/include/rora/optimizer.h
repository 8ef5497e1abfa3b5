#ifndef RORA_OPTIMIZER_H
#define RORA_OPTIMIZER_H

#include "rora/context.h"

#ifdef __cplusplus
extern "C" {
#endif

/** Sum of squares of `count` floats of the device, in double and in a fixed order. */
RORA_API rora_status rora_sum_of_squares(rora_context* context, int64_t count, const float* values,
                                         double* sum);

/** What one AdamW update needs besides its tensors. */
typedef struct rora_adamw_step {
  double learning_rate;
  double beta1;
  double beta2;
  double epsilon;
  double weight_decay;   /**< decoupled: values *= 1 - learning_rate * weight_decay */
  double gradient_scale; /**< what gradients are multiplied by first: the clip factor */
  int64_t step;          /**< from 1 */
} rora_adamw_step;

/**
 * AdamW (arXiv:1711.05101) as torch.optim.AdamW computes it, on flat arrays of `count` floats; then
 * sets the gradients to zero. Results do not depend on how a range is cut.
 */
RORA_API rora_status rora_adamw(rora_context* context, const rora_adamw_step* step, int64_t count,
                                float* values, float* gradients, float* first_moments,
                                float* second_moments);

#ifdef __cplusplus
}
#endif

#endif
