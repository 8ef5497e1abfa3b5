// The linear operators, entry by entry with sums in double. For projection i of a group, with s the
// rows' scale (1, or magnitude / |V| for DoRA) and X' = X, or with dropout (m o X) / (1 - p):
//
//   H' = scaling X' A^T                                  (rounded to x's dtype: it is stored in x's
//   tail) Y  = s o (X W^T + H' B^T) + bias                     without dropout Y  = X W^T + (s - 1)
//   o (X' W^T) + s o (H' B^T) + bias  with dropout: PEFT's form of DoRA G' = scaling (s o dY) B
//   (rounded to dy's dtype) dX = (s o dY) W + G' A                               without dropout dX
//   = dY W + mask o (((s - 1) o dY) W + G' A)         with dropout, mask = m / (1 - p) dA = G'^T
//   X',  dB = (s o dY)^T H',  dW = dY^T X,  dbias = sum_t dY dm = sum_t dY o (X' W^T + H' B^T) /
//   |V|              the norm itself is detached
#include "cpu/panel.h"
#include "cpu/philox.h"
#include "cpu/reference/reference.h"

namespace rora {
namespace {

// One projection of the group in one call.
struct Part {
  const LinearOp& op;
  const rora_linear::Projection& projection;
  int index;

  Part(const LinearOp& linear_op, int i)
      : op(linear_op), projection(linear_op.linear->projection[i]), index(i) {}

  const rora_adapter* adapter() const { return projection.adapter; }
  int64_t in() const { return projection.weight->in_features; }
  int64_t out() const { return projection.weight->out_features; }
  int64_t column() const { return op.linear->column(index); }
  bool drops() const { return op.linear->dropout > 0; }
  bool dora() const { return adapter() && adapter()->magnitude; }
  double row_scale(int64_t n) const { return dora() ? double(adapter()->row_scale[n]) : 1.0; }
  double w(int64_t n, int64_t k) const { return double(weight_at(*projection.weight, n, k)); }
  double a(int64_t j, int64_t k) const { return double(adapter()->lora_A[j * in() + k]); }
  double b(int64_t n, int64_t j) const {
    return double(adapter()->lora_B[n * adapter()->rank + j]);
  }

  int64_t tail(const rora_activation& x, int64_t j) const {
    return even(x.width) + op.linear->tail(index) + j;
  }
  double h(int64_t t, int64_t j) const { return double(get(*op.x, t, tail(*op.x, j))); }
  double g(int64_t t, int64_t j) const { return double(get(*op.dy, t, tail(*op.dy, j))); }
  double dy(int64_t t, int64_t n) const { return double(get(*op.dy, t, column() + n)); }

  // 0 or 1 / (1 - p); 1 without dropout.
  double mask(int64_t t, int64_t k) const {
    const rora_linear& linear = *op.linear;
    if (!drops()) return 1.0;
    const uint32_t word = dropout_word(linear.seed, linear.step, linear.stream + uint32_t(index),
                                       op.batch->order[t], k);
    return word >= dropout_threshold(linear.dropout) ? double(1.0f / (1.0f - linear.dropout)) : 0.0;
  }
  double x(int64_t t, int64_t k) const { return double(get(*op.x, t, k)); }
  // Where the masked input is itself stored as bf16 it is rounded; a double keeps the definition.
  double dropped_x(int64_t t, int64_t k) const { return x(t, k) * mask(t, k); }

  // (X' W^T + H' B^T)[t, n]
  double adapted(int64_t t, int64_t n) const {
    double sum = 0;
    for (int64_t k = 0; k < in(); ++k) sum += dropped_x(t, k) * w(n, k);
    return sum + low_rank(t, n);
  }
  double low_rank(int64_t t, int64_t n) const {
    double sum = 0;
    for (int64_t j = 0; j < adapter()->rank; ++j) sum += h(t, j) * b(n, j);
    return sum;
  }
};

void shrink(const Part& part) {
  const rora_adapter& adapter = *part.adapter();
  for (int64_t t = 0; t < part.op.x->tokens; ++t)
    for (int64_t j = 0; j < adapter.rank; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < part.in(); ++k) sum += part.dropped_x(t, k) * part.a(j, k);
      set(*part.op.x, t, part.tail(*part.op.x, j), float(double(adapter.scaling) * sum));
    }
}

double output(const Part& part, int64_t t, int64_t n) {
  double base = 0, dropped = 0;
  for (int64_t k = 0; k < part.in(); ++k) {
    base += part.x(t, k) * part.w(n, k);
    if (part.dora() && part.drops()) dropped += part.dropped_x(t, k) * part.w(n, k);
  }
  const double low_rank = part.adapter() ? part.low_rank(t, n) : 0.0;
  const double s = part.row_scale(n);
  const double bias = part.projection.bias ? double(part.projection.bias[n]) : 0.0;
  if (part.dora() && part.drops()) return base + (s - 1) * dropped + s * low_rank + bias;
  return s * (base + low_rank) + bias;
}

void shrink_gradient(const Part& part) {
  const rora_adapter& adapter = *part.adapter();
  for (int64_t t = 0; t < part.op.dy->tokens; ++t)
    for (int64_t j = 0; j < adapter.rank; ++j) {
      double sum = 0;
      for (int64_t n = 0; n < part.out(); ++n)
        sum += part.row_scale(n) * part.dy(t, n) * part.b(n, j);
      set(*part.op.dy, t, part.tail(*part.op.dy, j), float(double(adapter.scaling) * sum));
    }
}

void adapter_gradients(const Part& part) {
  const rora_adapter& adapter = *part.adapter();
  const int64_t tokens = part.op.dy->tokens;
  for (int64_t j = 0; j < adapter.train_rank; ++j) {
    for (int64_t k = 0; k < part.in(); ++k) {
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t) sum += part.g(t, j) * part.dropped_x(t, k);
      adapter.lora_A_gradient[j * part.in() + k] += float(sum);
    }
    for (int64_t n = 0; n < part.out(); ++n) {
      double sum = 0;
      for (int64_t t = 0; t < tokens; ++t) sum += part.row_scale(n) * part.dy(t, n) * part.h(t, j);
      adapter.lora_B_gradient[n * adapter.rank + j] += float(sum);
    }
  }
  if (!adapter.magnitude_gradient) return;
  for (int64_t n = 0; n < part.out(); ++n) {
    if (!(adapter.norms[n] > 0)) continue;  // a zero row has no direction to scale
    double sum = 0;
    for (int64_t t = 0; t < tokens; ++t) sum += part.dy(t, n) * part.adapted(t, n);
    adapter.magnitude_gradient[n] += float(sum / double(adapter.norms[n]));
  }
}

void base_gradients(const Part& part) {
  const int64_t tokens = part.op.dy->tokens;
  for (int64_t n = 0; n < part.out(); ++n) {
    if (part.projection.weight->gradient)
      for (int64_t k = 0; k < part.in(); ++k) {
        double sum = 0;
        for (int64_t t = 0; t < tokens; ++t) sum += part.dy(t, n) * part.x(t, k);
        part.projection.weight->gradient[n * part.in() + k] += float(sum);
      }
    if (!part.projection.bias_gradient) continue;
    double sum = 0;
    for (int64_t t = 0; t < tokens; ++t) sum += part.dy(t, n);
    part.projection.bias_gradient[n] += float(sum);
  }
}

// What projection `part` adds to dX[t, k].
double input_gradient(const Part& part, int64_t t, int64_t k) {
  double base = 0, masked = 0;
  for (int64_t n = 0; n < part.out(); ++n) {
    const double product = part.dy(t, n) * part.w(n, k);
    const double s = part.row_scale(n);
    base += part.drops() ? product : s * product;
    if (part.drops()) masked += (s - 1) * product;
  }
  if (part.adapter())
    for (int64_t j = 0; j < part.adapter()->rank; ++j) masked += part.g(t, j) * part.a(j, k);
  return base + part.mask(t, k) * masked;
}

}  // namespace

void reference_linear_shrink(rora_context&, const LinearOp& op) {
  for (int i = 0; i < op.linear->projections; ++i)
    if (op.linear->projection[i].adapter) shrink(Part(op, i));
}

void reference_linear_forward(rora_context& context, const LinearOp& op) {
  reference_linear_shrink(context, op);
  for (int i = 0; i < op.linear->projections; ++i) {
    const Part part(op, i);
    for (int64_t t = 0; t < op.x->tokens; ++t)
      for (int64_t n = 0; n < part.out(); ++n) {
        double value = output(part, t, n);
        if (op.residual) value += double(get(*op.residual, t, part.column() + n));
        set(*op.y, t, part.column() + n, float(value));
      }
  }
}

void reference_linear_backward(rora_context&, const LinearOp& op) {
  const int count = op.linear->projections;
  for (int i = 0; i < count; ++i) {
    const Part part(op, i);
    if (part.adapter()) shrink_gradient(part);
    if (part.adapter() && part.adapter()->lora_A_gradient) adapter_gradients(part);
    base_gradients(part);
  }
  if (!op.dx) return;
  for (int64_t t = 0; t < op.dy->tokens; ++t)
    for (int64_t k = 0; k < op.linear->in_features(); ++k) {
      double sum = op.accumulate ? double(get(*op.dx, t, k)) : 0.0;
      for (int i = 0; i < count; ++i) sum += input_gradient(Part(op, i), t, k);
      set(*op.dx, t, k, float(sum));
    }
}

}  // namespace rora
