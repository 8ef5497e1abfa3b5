#include <cmath>
#include <limits>
#include <vector>

#include "cpu/panel.h"
#include "cpu/reference/padding.h"
#include "cpu/reference/reference.h"

namespace rora {
namespace {

// logits = x head^T of one token; returns the log of the sum of their exponentials.
double compute_logits(const CrossEntropyOp& op, int64_t token, std::vector<double>& logits) {
  double maximum = -std::numeric_limits<double>::infinity();
  for (int64_t n = 0; n < op.head->out_features; ++n) {
    double sum = 0;
    for (int64_t k = 0; k < op.head->in_features; ++k)
      sum += double(get(*op.x, token, k)) * double(weight_at(*op.head, n, k));
    logits[size_t(n)] = sum;
    maximum = std::fmax(maximum, sum);
  }
  double exponentials = 0;
  for (const double logit : logits) exponentials += std::exp(logit - maximum);
  return maximum + std::log(exponentials);
}

}  // namespace

// loss = sum of log(sum exp(logits)) - logits[label];  dlogits = (softmax(logits) - onehot) /
// divisor
void reference_cross_entropy(rora_context&, const CrossEntropyOp& op) {
  const int64_t vocabulary = op.head->out_features, hidden = op.head->in_features;
  std::vector<double> logits(static_cast<size_t>(vocabulary)), dx(static_cast<size_t>(hidden));
  std::vector<double> dw(op.dx && op.head->gradient ? size_t(vocabulary * hidden) : 0);
  *op.loss_sum = 0;
  for (int64_t t = 0; t < op.x->tokens; ++t) {
    const int32_t label = op.batch->labels[t];
    double loss = 0;
    dx.assign(dx.size(), 0.0);
    if (label >= 0) {
      const double lse = compute_logits(op, t, logits);
      loss = lse - logits[size_t(label)];
      for (int64_t n = 0; op.dx && n < vocabulary; ++n) {
        const double softmax = std::exp(logits[size_t(n)] - lse);
        const double gradient = (softmax - (n == label ? 1 : 0)) / op.divisor;
        for (int64_t k = 0; k < hidden; ++k)
          dx[size_t(k)] += gradient * double(weight_at(*op.head, n, k));
        for (int64_t k = 0; !dw.empty() && k < hidden; ++k)
          dw[size_t(n * hidden + k)] += gradient * double(get(*op.x, t, k));
      }
    }
    *op.loss_sum += loss;
    if (op.token_loss) op.token_loss[t] = float(loss);
    for (int64_t k = 0; op.dx && k < hidden; ++k) set(*op.dx, t, k, float(dx[size_t(k)]));
  }
  for (size_t i = 0; op.head->gradient && i < dw.size(); ++i) op.head->gradient[i] += float(dw[i]);
  if (op.dx) clear_padding(*op.dx);
}

}  // namespace rora
