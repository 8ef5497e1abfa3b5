#include "rora/loss.h"

#include <cmath>

#include "api/layer_checks.h"

using namespace rora;

rora_status rora_cross_entropy(rora_weight* head, const rora_batch* batch, const rora_activation* x,
                               double divisor, double* loss_sum, float* token_loss,
                               rora_activation* dx) {
  return guard([&] {
    require_given(head, "head");
    require_given(batch, "batch");
    require_given(x, "x");
    require_given(loss_sum, "loss_sum");
    require_same_context(head->context, batch->context, "batch");
    require_same_context(head->context, x->context, "x");
    require_width(x, "x", head->in_features);
    require_tokens(x, "x", batch->tokens);
    RORA_REQUIRE(std::isfinite(divisor) && divisor > 0, "divisor=%g: must be positive and finite",
                 divisor);
    if (dx) {
      require_same_context(head->context, dx->context, "dx");
      require_same_dtype(x, "x", dx, "dx");
      require_distinct(x, "x", dx, "dx");
      require_width(dx, "dx", x->width);
      require_room(dx, "dx", x->tokens);
    }
    for (int64_t t = 0; t < batch->tokens; ++t)
      RORA_REQUIRE(batch->labels[t] == -100 ||
                       (batch->labels[t] >= 0 && batch->labels[t] < head->out_features),
                   "token %lld has label %d: it must be -100 (none) or 0 .. %lld",
                   static_cast<long long>(t), batch->labels[t],
                   static_cast<long long>(head->out_features - 1));
    if (dx) dx->tokens = x->tokens;
    CrossEntropyOp op{};
    op.head = head, op.batch = batch, op.x = x, op.divisor = divisor;
    op.loss_sum = loss_sum, op.token_loss = token_loss, op.dx = dx;
    head->context->kernels->cross_entropy(*head->context, op);
  });
}
