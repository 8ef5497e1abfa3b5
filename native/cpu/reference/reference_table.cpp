#include "cpu/panel.h"
#include "cpu/reference/reference.h"

namespace rora {

void reference_add(rora_context&, const AddOp& op) {
  for (int64_t t = 0; t < op.source->tokens; ++t)
    for (int64_t f = 0; f < op.source->width; ++f)
      set(*op.target, t, f, get(*op.target, t, f) + get(*op.source, t, f));
}

const KernelTable& reference_kernels() {
  static const KernelTable table = {
      .name = "reference",
      .linear_shrink = reference_linear_shrink,
      .linear_forward = reference_linear_forward,
      .linear_backward = reference_linear_backward,
      .dora_norms = reference_dora_norms,
      .embedding_forward = reference_embedding_forward,
      .embedding_backward = reference_embedding_backward,
      .rmsnorm_forward = reference_rmsnorm_forward,
      .rmsnorm_backward = reference_rmsnorm_backward,
      .rope = reference_rope,
      .swiglu_forward = reference_swiglu_forward,
      .swiglu_backward = reference_swiglu_backward,
      .attention_forward = reference_attention_forward,
      .attention_backward = reference_attention_backward,
      .attention_cached = reference_attention_cached,
      .cross_entropy = reference_cross_entropy,
      .sum_of_squares = reference_sum_of_squares,
      .adamw = reference_adamw,
      .add = reference_add,
      .rows_to_panels = reference_rows_to_panels,
      .panels_to_rows = reference_panels_to_rows,
      .peak = reference_peak,
      .stream = reference_stream,
  };
  return table;
}

}  // namespace rora
