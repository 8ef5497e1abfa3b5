// The reference kernels: plain loops over get() and set() of cpu/panel.h with sums in double. They
// are the specification that every other backend is compared with, so they favour being read over
// speed.
#pragma once

#include "api/kernel_table.h"

namespace rora {

void reference_linear_shrink(rora_context& context, const LinearOp& op);
void reference_linear_forward(rora_context& context, const LinearOp& op);
void reference_linear_backward(rora_context& context, const LinearOp& op);
void reference_dora_norms(rora_context& context, const DoraNormsOp& op);
void reference_embedding_forward(rora_context& context, const EmbeddingOp& op);
void reference_embedding_backward(rora_context& context, const EmbeddingOp& op);
void reference_rmsnorm_forward(rora_context& context, const RmsNormOp& op);
void reference_rmsnorm_backward(rora_context& context, const RmsNormOp& op);
void reference_rope(rora_context& context, const RopeOp& op);
void reference_swiglu_forward(rora_context& context, const SwigluOp& op);
void reference_swiglu_backward(rora_context& context, const SwigluOp& op);
void reference_attention_forward(rora_context& context, const AttentionOp& op);
void reference_attention_backward(rora_context& context, const AttentionOp& op);
void reference_attention_cached(rora_context& context, const AttentionOp& op);
void reference_cross_entropy(rora_context& context, const CrossEntropyOp& op);
void reference_sum_of_squares(rora_context& context, const SumOfSquaresOp& op);
void reference_adamw(rora_context& context, const AdamwOp& op);
void reference_add(rora_context& context, const AddOp& op);
void reference_rows_to_panels(rora_context& context, const RowsOp& op);
void reference_panels_to_rows(rora_context& context, const RowsOp& op);
void reference_peak(PeakOp& op);
void reference_stream(rora_context& context, const StreamOp& op);

}  // namespace rora
