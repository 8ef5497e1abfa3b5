#include "cpu/panel.h"
#include "cpu/reference/reference.h"

namespace rora {

// (a, b) -> (a cos - b sin, b cos + a sin) for features i and i + head_dim / 2   (arXiv:2104.09864,
// sec. 3.4.2, in the pairing of transformers' rotate_half). The inverse turns the sign of sin.
void reference_rope(rora_context&, const RopeOp& op) {
  const int64_t half = op.rope->head_dim / 2;
  for (int64_t t = 0; t < op.x->tokens; ++t)
    for (int64_t head = 0; head < op.heads; ++head)
      for (int64_t i = 0; i < half; ++i) {
        const int64_t angle = op.batch->positions[t] * half + i;
        const double cosine = op.rope->cosines[size_t(angle)];
        const double sine =
            op.inverse ? -op.rope->sines[size_t(angle)] : op.rope->sines[size_t(angle)];
        const int64_t row = op.column + head * op.rope->head_dim + i;
        const double a = get(*op.x, t, row), b = get(*op.x, t, row + half);
        set(*op.x, t, row, float(a * cosine - b * sine));
        set(*op.x, t, row + half, float(b * cosine + a * sine));
      }
}

}  // namespace rora
