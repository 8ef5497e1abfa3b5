#ifndef RORA_LOSS_H
#define RORA_LOSS_H

#include "rora/activation.h"
#include "rora/batch.h"
#include "rora/weight.h"

#ifdef __cplusplus
extern "C" {
#endif

/**
 * The output head and its cross entropy in one: logits = x head^T, computed only for tokens with a
 * label and only a few hundred rows at a time; loss = sum over them of -log softmax(logits)[label].
 *
 * @param head        [vocabulary, hidden]; if it is bound by rora_weight_train its gradient is
 * added to
 * @param x           the final hidden states [tokens, hidden]
 * @param divisor     what the gradients are divided by: the supervised tokens of the whole
 * optimiser batch
 * @param loss_sum    host double, receives the undivided sum
 * @param token_loss  host floats [tokens], each token's own loss (0 without a label), or NULL
 * @param dx          gradient of loss_sum / divisor with respect to x (overwritten), or NULL for
 *                    evaluation, when nothing but the losses is computed
 */
RORA_API rora_status rora_cross_entropy(rora_weight* head, const rora_batch* batch,
                                        const rora_activation* x, double divisor, double* loss_sum,
                                        float* token_loss, rora_activation* dx);

#ifdef __cplusplus
}
#endif

#endif
