// Row-major host memory into panels and back, entry by entry.
#include "cpu/panel.h"
#include "cpu/reference/padding.h"
#include "cpu/reference/reference.h"

namespace rora {

void reference_rows_to_panels(rora_context&, const RowsOp& op) {
  for (int64_t t = 0; t < op.activation->tokens; ++t)
    for (int64_t j = 0; j < op.columns; ++j) {
      const int64_t i = t * op.stride + j;
      set(*op.activation, t, op.row + j,
          op.dtype == RORA_F32 ? static_cast<const float*>(op.rows)[i]
                               : bf16_to_float(static_cast<const uint16_t*>(op.rows)[i]));
    }
  clear_unused_lanes(*op.activation, op.row, op.columns);
}

void reference_panels_to_rows(rora_context&, const RowsOp& op) {
  auto* floats = static_cast<float*>(op.rows);
  auto* halves = static_cast<uint16_t*>(op.rows);
  for (int64_t t = 0; t < op.tokens; ++t)
    for (int64_t j = 0; j < op.columns; ++j) {
      const int64_t i = t * op.stride + j;
      float value = get(*op.activation, op.token + t, op.row + j);
      if (op.add) value += op.dtype == RORA_F32 ? floats[i] : bf16_to_float(halves[i]);
      if (op.dtype == RORA_F32)
        floats[i] = value;
      else
        halves[i] = float_to_bf16(value);
    }
}

}  // namespace rora
