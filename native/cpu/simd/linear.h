// The linear operators of rora/linear.h as jobs of the panel GEMM and of the sums over tokens.
#pragma once

#include "cpu/simd/few_tokens.h"
#include "cpu/simd/outer.h"

namespace rora::RORA_LEVEL {

static inline bool drops(const LinearOp& op) { return op.linear->dropout > 0.0f; }

static inline Dropout dropout_of(const LinearOp& op) {
  const rora_linear& linear = *op.linear;
  if (!drops(op)) return {};
  return {linear.seed, linear.step, dropout_threshold(linear.dropout),
          1.0f / (1.0f - linear.dropout), op.batch->order};
}

static inline int64_t stream_of(const LinearOp& op, int i) {
  return drops(op) ? int64_t(op.linear->stream) + i : -1;
}

// Where projection i's H' or G' begins in a panel of x or dy.
static inline int64_t tail_row(const LinearOp& op, const rora_activation& a, int i) {
  return even(a.width) + op.linear->tail(i);
}

static inline void run_forward_jobs(rora_context& context, const LinearOp& op, const PanelJob* jobs,
                                    int count) {
  const Dropout dropout = dropout_of(op);
  if (op.x->tokens <= kFewTokens && !drops(op))
    run_few(context, jobs, count, op.x->tokens);
  else
    run_jobs(context, jobs, count, op.x->tokens, &dropout);
}

// H' = scaling X A^T of every adapter into x's tail.
static inline void linear_shrink(rora_context& context, const LinearOp& op) {
  const rora_linear& linear = *op.linear;
  PanelJob jobs[4];
  int count = 0;
  for (int i = 0; i < linear.projections; ++i) {
    const rora_adapter* adapter = linear.projection[i].adapter;
    if (!adapter) continue;
    PanelJob& job = jobs[count++];
    job.n = adapter->rank;
    job.y = op.x;
    job.y_row = tail_row(op, *op.x, i);
    job.scale = adapter->scaling;
    job.append({op.x, 0, adapter->in_features,
                float_matrix(adapter->lora_A, adapter->in_features, false), stream_of(op, i)});
  }
  run_forward_jobs(context, op, jobs, count);
}

static inline Segment slab(const LinearOp& op, int i) {
  const rora_adapter& adapter = *op.linear->projection[i].adapter;
  return {op.x, tail_row(op, *op.x, i), adapter.rank,
          float_matrix(adapter.lora_B, adapter.rank, false), -1};
}

// (s - 1) X' W^T + s H' B^T, which DoRA with dropout adds to the base product (PEFT's form).
static inline PanelJob dropped_dora_job(const LinearOp& op, int i) {
  const rora_adapter& adapter = *op.linear->projection[i].adapter;
  PanelJob job;
  Segment base{op.x, 0, adapter.in_features, weight_rows(*op.linear->projection[i].weight),
               stream_of(op, i)};
  base.w.n_scale = adapter.row_scale;
  base.w.scale_offset = 1.0f;
  job.append(base);
  Segment low_rank = slab(op, i);
  low_rank.w.n_scale = adapter.row_scale;
  job.append(low_rank);
  job.n = adapter.out_features;
  job.y = op.y;
  job.add = op.y;
  job.y_row = op.linear->column(i);
  return job;
}

static inline void linear_forward(rora_context& context, const LinearOp& op) {
  const rora_linear& linear = *op.linear;
  linear_shrink(context, op);
  PanelJob jobs[4], dropped[4];
  int dropped_count = 0;
  for (int i = 0; i < linear.projections; ++i) {
    const rora_linear::Projection& projection = linear.projection[i];
    PanelJob& job = jobs[i];
    job.n = projection.weight->out_features;
    job.y = op.y;
    job.y_row = linear.column(i);
    job.bias = projection.bias;
    job.add = op.residual;
    job.append({op.x, 0, projection.weight->in_features, weight_rows(*projection.weight), -1});
    if (!projection.adapter) continue;
    if (projection.adapter->magnitude && drops(op)) {
      dropped[dropped_count++] = dropped_dora_job(op, i);
    } else {
      job.append(slab(op, i));
      if (projection.adapter->magnitude) job.row_scale = projection.adapter->row_scale;
    }
  }
  run_forward_jobs(context, op, jobs, linear.projections);
  run_forward_jobs(context, op, dropped, dropped_count);
}

static inline const float* dora_scale(const rora_adapter* adapter) {
  return adapter && adapter->magnitude ? adapter->row_scale : nullptr;
}

// G' = scaling (s o dY) B of every adapter into dy's tail.
static inline void shrink_gradient(rora_context& context, const LinearOp& op) {
  const rora_linear& linear = *op.linear;
  PanelJob jobs[4];
  int count = 0;
  for (int i = 0; i < linear.projections; ++i) {
    const rora_adapter* adapter = linear.projection[i].adapter;
    if (!adapter) continue;
    PanelJob& job = jobs[count++];
    Segment segment{op.dy, linear.column(i), adapter->out_features,
                    float_matrix(adapter->lora_B, adapter->rank, true), -1};
    segment.w.k_scale = dora_scale(adapter);
    job.append(segment);
    job.n = adapter->rank;
    job.y = op.dy;
    job.y_row = tail_row(op, *op.dy, i);
    job.scale = adapter->scaling;
  }
  run_jobs(context, jobs, count, op.dy->tokens, nullptr);
}

// dA = G'^T X',  dB = (s o dY)^T H',  dW = dY^T X.
static inline void weight_gradients(rora_context& context, const LinearOp& op) {
  const rora_linear& linear = *op.linear;
  const Dropout dropout = dropout_of(op);
  OuterJob jobs[12];
  int count = 0;
  for (int i = 0; i < linear.projections; ++i) {
    const rora_linear::Projection& projection = linear.projection[i];
    const int64_t column = linear.column(i), out = projection.weight->out_features;
    const int64_t in = projection.weight->in_features;
    if (projection.weight->gradient)
      jobs[count++] = {op.dy, column, out, nullptr, op.x, 0, in, -1, projection.weight->gradient,
                       in};
    const rora_adapter* adapter = projection.adapter;
    if (!adapter || !adapter->lora_A_gradient) continue;
    jobs[count++] = {op.dy, tail_row(op, *op.dy, i), adapter->train_rank,      nullptr, op.x, 0,
                     in,    stream_of(op, i),        adapter->lora_A_gradient, in};
    jobs[count++] = {op.dy,
                     column,
                     out,
                     dora_scale(adapter),
                     op.x,
                     tail_row(op, *op.x, i),
                     adapter->train_rank,
                     -1,
                     adapter->lora_B_gradient,
                     adapter->rank};
  }
  run_outer(context, jobs, count, op.dy->tokens, &dropout);
}

static inline void bias_gradients(rora_context& context, const LinearOp& op) {
  const rora_linear& linear = *op.linear;
  for (int i = 0; i < linear.projections; ++i) {
    float* gradient = linear.projection[i].bias_gradient;
    if (!gradient) continue;
    const int64_t column = linear.column(i), out = linear.projection[i].weight->out_features;
    parallel(*context.pool, blocks_of(out, kBlockRows), [&](int64_t task, int32_t) {
      float row[kPanel];
      const int64_t end = min_of(out, (task + 1) * kBlockRows);
      for (int64_t n = task * kBlockRows; n < end; ++n) {
        double sum = 0;
        for (int64_t p = 0; p < panels(op.dy->tokens); ++p) {
          widen_rows(*op.dy, p, column + n, 1, row, kPanel);
          vfloat lanes = {};
          for (int lane = 0; lane < kPanel; lane += kLanes) lanes += load(row + lane);
          sum += double(sum_lanes(lanes));
        }
        gradient[n] += float(sum);
      }
    });
  }
}

// dm[n] = sum_t dY[t, n] (X' W^T + H' B^T)[t, n] / |V[n]|: the product is recomputed, tile by tile,
// and never stored.
static inline void magnitude_gradients(rora_context& context, const LinearOp& op) {
  const rora_linear& linear = *op.linear;
  const Dropout dropout = dropout_of(op);
  PanelJob jobs[4];
  int count = 0;
  for (int i = 0; i < linear.projections; ++i) {
    const rora_adapter* adapter = linear.projection[i].adapter;
    if (!adapter || !adapter->magnitude_gradient) continue;
    PanelJob& job = jobs[count++];
    job.kind = PanelJob::kDot;
    job.n = adapter->out_features;
    job.y_row = linear.column(i);
    job.append({op.x, 0, adapter->in_features, weight_rows(*linear.projection[i].weight),
                stream_of(op, i)});
    job.append(slab(op, i));
    job.dot = op.dy;
    job.dot_sum = adapter->magnitude_gradient;
    job.dot_divisor = adapter->norms;
  }
  run_jobs(context, jobs, count, op.dy->tokens, &dropout);
}

// dX = sum over projections of dY W + G' A, once for the whole group.
static inline void input_gradient(rora_context& context, const LinearOp& op) {
  const rora_linear& linear = *op.linear;
  const Dropout dropout = dropout_of(op);
  PanelJob sum;
  PanelJob masked[4];
  int masked_count = 0;
  sum.n = linear.in_features();
  sum.y = op.dx;
  sum.add = op.accumulate ? op.dx : nullptr;
  for (int i = 0; i < linear.projections; ++i) {
    const rora_linear::Projection& projection = linear.projection[i];
    const rora_adapter* adapter = projection.adapter;
    Segment base{op.dy, linear.column(i), projection.weight->out_features,
                 weight_columns(*projection.weight), -1};
    if (!drops(op)) base.w.k_scale = dora_scale(adapter);
    sum.append(base);
    if (!adapter) continue;
    const Segment low_rank{op.dy, tail_row(op, *op.dy, i), adapter->rank,
                           float_matrix(adapter->lora_A, adapter->in_features, true), -1};
    if (!drops(op)) {
      sum.append(low_rank);
      continue;
    }
    PanelJob& job = masked[masked_count++];
    job.kind = PanelJob::kMaskedAdd;
    job.n = sum.n;
    job.y = op.dx;
    job.stream = uint32_t(stream_of(op, i));
    if (adapter->magnitude) {
      base.w.k_scale = adapter->row_scale;
      base.w.scale_offset = 1.0f;
      job.append(base);
    }
    job.append(low_rank);
  }
  run_jobs(context, &sum, 1, op.dy->tokens, nullptr);
  for (int i = 0; i < masked_count; ++i)  // one after the other: they add to the same dx
    run_jobs(context, masked + i, 1, op.dy->tokens, &dropout);
}

// Zero in the lanes behind the last token: they meet zero gradients, but a step that was not finite
// may have left something there, and 0 times that is not 0.
static inline void clear_unused_lanes(rora_activation& a) {
  const int active = active_lanes(a.tokens, panels(a.tokens) - 1);
  with_type(a, [&](auto type) {
    auto* panel = panel_data<decltype(type)>(a, panels(a.tokens) - 1);
    for (int64_t pair = 0; pair < a.rows / 2; ++pair)
      for (int lane = active / kLanes * kLanes; lane < kPanel; lane += kLanes)
        store_pair(panel, pair, lane, keep(load_pair(panel, pair, lane), lane, active));
  });
}

static inline void linear_backward(rora_context& context, const LinearOp& op) {
  if (op.x && op.x->tokens % kPanel != 0) clear_unused_lanes(*op.x);
  shrink_gradient(context, op);
  if (op.x) {
    weight_gradients(context, op);
    magnitude_gradients(context, op);
  }
  bias_gradients(context, op);
  if (op.dx) input_gradient(context, op);
}

}  // namespace rora::RORA_LEVEL
