#include <cmath>
#include <limits>
#include <vector>

#include "cpu/panel.h"
#include "cpu/reference/padding.h"
#include "cpu/reference/reference.h"

namespace rora {
namespace {

// Where the keys and values that a token attends to stand.
struct KeyValues {
  const rora_activation* matrix;
  int64_t key_column, value_column;
};

int64_t lse_index(const AttentionOp& op, int64_t head, int64_t token) {
  return head * round_up(op.qkv->max_tokens, kPanel) + token;
}

int64_t kv_head(const AttentionOp& op, int64_t head) {
  return head / (op.shape.heads / op.shape.kv_heads);
}

double dot(const rora_activation& a, int64_t a_token, int64_t a_row, const rora_activation& b,
           int64_t b_token, int64_t b_row, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; ++i)
    sum += double(get(a, a_token, a_row + i)) * double(get(b, b_token, b_row + i));
  return sum;
}

// q . k / sqrt(head_dim) for the rows that the token attends to.
std::vector<double> scores(const AttentionOp& op, const KeyValues& kv, int64_t token,
                           int64_t head) {
  const int64_t dim = op.shape.head_dim, row = kv.key_column + kv_head(op, head) * dim;
  const int64_t begin = op.batch->begins[token], count = op.batch->positions[token] + 1;
  std::vector<double> result(static_cast<size_t>(count));
  for (int64_t j = 0; j < count; ++j)
    result[size_t(j)] =
        dot(*op.qkv, token, head * dim, *kv.matrix, begin + j, row, dim) / std::sqrt(double(dim));
  return result;
}

double log_sum_exp(const std::vector<double>& values) {
  double maximum = -std::numeric_limits<double>::infinity(), sum = 0;
  for (const double value : values) maximum = std::fmax(maximum, value);
  for (const double value : values) sum += std::exp(value - maximum);
  return maximum + std::log(sum);
}

void attend(const AttentionOp& op, const KeyValues& kv, int64_t token, int64_t head) {
  const int64_t dim = op.shape.head_dim, row = kv.value_column + kv_head(op, head) * dim;
  const std::vector<double> s = scores(op, kv, token, head);
  const double lse = log_sum_exp(s);
  for (int64_t d = 0; d < dim; ++d) {
    double sum = 0;
    for (size_t j = 0; j < s.size(); ++j)
      sum += std::exp(s[j] - lse) *
             double(get(*kv.matrix, op.batch->begins[token] + int64_t(j), row + d));
    set(*op.y, token, head * dim + d, float(sum));
  }
  if (op.lse) op.lse[lse_index(op, head, token)] = float(lse);
}

void attend_all(const AttentionOp& op, const KeyValues& kv) {
  for (int64_t head = 0; head < op.shape.heads; ++head)
    for (int64_t t = 0; t < op.qkv->tokens; ++t) attend(op, kv, t, head);
  clear_padding(*op.y);
}

// The gradients of one (token, head) pair, added to `d` [tokens, width] in double.
void add_gradients(const AttentionOp& op, int64_t token, int64_t head, std::vector<double>& d) {
  const int64_t dim = op.shape.head_dim, width = op.qkv->width, q_row = head * dim;
  const int64_t k_row = op.shape.key_column + kv_head(op, head) * dim;
  const int64_t v_row = op.shape.value_column + kv_head(op, head) * dim;
  const KeyValues kv = {op.qkv, op.shape.key_column, op.shape.value_column};
  const std::vector<double> s = scores(op, kv, token, head);
  const double lse = op.lse[lse_index(op, head, token)], scale = 1 / std::sqrt(double(dim));
  const double delta = dot(*op.dy, token, q_row, *op.out, token, q_row, dim);
  for (size_t j = 0; j < s.size(); ++j) {
    const int64_t key = op.batch->begins[token] + int64_t(j);
    const double p = std::exp(s[j] - lse);
    const double ds = p * (dot(*op.dy, token, q_row, *op.qkv, key, v_row, dim) - delta) * scale;
    for (int64_t i = 0; i < dim; ++i) {
      d[size_t(token * width + q_row + i)] += ds * double(get(*op.qkv, key, k_row + i));
      d[size_t(key * width + k_row + i)] += ds * double(get(*op.qkv, token, q_row + i));
      d[size_t(key * width + v_row + i)] += p * double(get(*op.dy, token, q_row + i));
    }
  }
}

}  // namespace

// y = softmax(q k^T / sqrt(head_dim)) v over the token's own document      (arXiv:1706.03762, eq.
// 1)
void reference_attention_forward(rora_context&, const AttentionOp& op) {
  attend_all(op, {op.qkv, op.shape.key_column, op.shape.value_column});
}

// dv = p dy,  ds = p o (dy v^T - dy . y),  dq = ds k,  dk = ds^T q      (arXiv:2205.14135, app.
// B.2)
void reference_attention_backward(rora_context&, const AttentionOp& op) {
  const int64_t tokens = op.qkv->tokens, width = op.qkv->width, dim = op.shape.head_dim;
  std::vector<double> d(static_cast<size_t>(tokens * width));
  for (int64_t head = 0; head < op.shape.heads; ++head)
    for (int64_t t = 0; t < tokens; ++t) add_gradients(op, t, head, d);
  const int64_t kv_width = op.shape.kv_heads * dim;
  const int64_t ranges[3][2] = {{0, op.shape.heads * dim},
                                {op.shape.key_column, kv_width},
                                {op.shape.value_column, kv_width}};
  for (const auto& range : ranges) {
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t f = range[0]; f < range[0] + range[1]; ++f)
        set(*op.d_qkv, t, f, float(d[size_t(t * width + f)]));
    clear_unused_lanes(*op.d_qkv, range[0], range[1]);
  }
}

void reference_attention_cached(rora_context&, const AttentionOp& op) {
  const int64_t kv_width = op.shape.kv_heads * op.shape.head_dim;
  for (int64_t t = 0; t < op.qkv->tokens; ++t)
    for (int64_t f = 0; f < kv_width; ++f) {
      const int64_t row = op.batch->begins[t] + op.batch->positions[t];
      set(*op.cache, row, f, get(*op.qkv, t, op.shape.key_column + f));
      set(*op.cache, row, even(kv_width) + f, get(*op.qkv, t, op.shape.value_column + f));
    }
  attend_all(op, {op.cache, 0, even(kv_width)});
}

}  // namespace rora
