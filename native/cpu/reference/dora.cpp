#include <cmath>

#include "cpu/panel.h"
#include "cpu/reference/reference.h"

namespace rora {

// |V[n]| of V = W + s B A, entry by entry: the definition, where the fast form uses the low-rank
// one.
void reference_dora_norms(rora_context&, const DoraNormsOp& op) {
  const rora_adapter& adapter = *op.adapter;
  for (int64_t n = 0; n < adapter.out_features; ++n) {
    double sum = 0;
    for (int64_t k = 0; k < adapter.in_features; ++k) {
      double value = double(weight_at(*op.weight, n, k));
      for (int64_t j = 0; j < adapter.rank; ++j)
        value += double(adapter.scaling) * double(adapter.lora_B[n * adapter.rank + j]) *
                 double(adapter.lora_A[j * adapter.in_features + k]);
      sum += value * value;
    }
    op.norms[n] = float(std::sqrt(sum));
    op.row_scale[n] = op.norms[n] > 0 ? adapter.magnitude[n] / op.norms[n] : 0.0f;
  }
}

}  // namespace rora
