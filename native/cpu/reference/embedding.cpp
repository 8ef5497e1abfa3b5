#include "cpu/panel.h"
#include "cpu/reference/padding.h"
#include "cpu/reference/reference.h"

namespace rora {

void reference_embedding_forward(rora_context&, const EmbeddingOp& op) {
  for (int64_t t = 0; t < op.batch->tokens; ++t)
    for (int64_t f = 0; f < op.table->in_features; ++f)
      set(*op.y, t, f, weight_at(*op.table, op.batch->ids[t], f));
  clear_padding(*op.y);
}

void reference_embedding_backward(rora_context&, const EmbeddingOp& op) {
  const int64_t width = op.table->in_features;
  for (int64_t t = 0; t < op.batch->tokens; ++t)
    for (int64_t f = 0; f < width; ++f)
      op.table->gradient[op.batch->ids[t] * width + f] += get(*op.dy, t, f);
}

}  // namespace rora
