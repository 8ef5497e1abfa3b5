// Entry points of embedding, normalisation, rotary embedding, activation function and attention.
#include "rora/layers.h"

#include <algorithm>
#include <cmath>

#include "api/device.h"
#include "api/layer_checks.h"

namespace rora {
namespace {

void check_ids(const rora_batch* batch, const rora_weight* table) {
  for (int64_t t = 0; t < batch->tokens; ++t)
    RORA_REQUIRE(batch->ids[t] >= 0 && batch->ids[t] < table->out_features,
                 "token %lld has id %d: the table has rows 0 .. %lld", static_cast<long long>(t),
                 batch->ids[t], static_cast<long long>(table->out_features - 1));
}

void check_norm(const rora_activation* x, const float* weight, float eps) {
  require_given(x, "x");
  require_given(weight, "weight");
  RORA_REQUIRE(std::isfinite(eps) && eps > 0, "eps=%g: must be positive and finite", double(eps));
}

void check_gate_up(const rora_activation* gate_up, int64_t up_column, const rora_activation* half,
                   const char* half_name) {
  require_columns(gate_up, "gate_up", up_column, half->width);
  RORA_REQUIRE(up_column >= half->width, "up_column=%lld: must be at least the width of %s (%lld)",
               static_cast<long long>(up_column), half_name, static_cast<long long>(half->width));
  require_same_context(gate_up->context, half->context, half_name);
  require_same_dtype(gate_up, "gate_up", half, half_name);
  require_distinct(gate_up, "gate_up", half, half_name);
}

void check_heads(const rora_attention_shape& s) {
  RORA_REQUIRE(s.heads >= 1 && s.kv_heads >= 1 && s.heads % s.kv_heads == 0,
               "heads=%lld, kv_heads=%lld: both must be positive and kv_heads divide heads",
               static_cast<long long>(s.heads), static_cast<long long>(s.kv_heads));
  RORA_REQUIRE(s.head_dim >= 2 && s.head_dim % 2 == 0, "head_dim=%lld: must be even and at least 2",
               static_cast<long long>(s.head_dim));
  // Products of these are taken below.
  RORA_REQUIRE(s.heads <= INT32_MAX && s.head_dim <= INT32_MAX,
               "heads=%lld, head_dim=%lld: must be below 2^31", static_cast<long long>(s.heads),
               static_cast<long long>(s.head_dim));
}

// What all three attention calls ask of their common arguments.
void check_attention(const rora_attention_shape* shape, const rora_batch* batch,
                     const rora_activation* qkv, const rora_activation* y) {
  require_given(shape, "shape");
  require_given(batch, "batch");
  require_given(qkv, "qkv");
  require_given(y, "y");
  check_heads(*shape);
  const int64_t q_width = shape->heads * shape->head_dim;
  const int64_t kv_width = shape->kv_heads * shape->head_dim;
  require_columns(qkv, "qkv (queries)", 0, q_width);
  require_columns(qkv, "qkv (keys)", shape->key_column, kv_width);
  require_columns(qkv, "qkv (values)", shape->value_column, kv_width);
  RORA_REQUIRE(shape->key_column >= q_width &&
                   std::abs(shape->value_column - shape->key_column) >= kv_width &&
                   shape->value_column >= q_width,
               "key_column=%lld, value_column=%lld: queries, keys and values must not overlap",
               static_cast<long long>(shape->key_column),
               static_cast<long long>(shape->value_column));
  require_same_context(qkv->context, batch->context, "batch");
  require_same_context(qkv->context, y->context, "y");
  require_tokens(qkv, "qkv", batch->tokens);
  require_width(y, "y", q_width);
  require_same_dtype(qkv, "qkv", y, "y");
  require_distinct(qkv, "qkv", y, "y");
}

// Rows that a token attends to, begins .. begins + positions, must be rows of the key matrix.
void check_rows(const rora_batch* batch, int64_t rows, const char* name) {
  for (int64_t t = 0; t < batch->tokens; ++t) {
    const int64_t begin = batch->begins[t], position = batch->positions[t];
    RORA_REQUIRE(begin >= 0 && position >= 0 && begin + position < rows,
                 "token %lld attends to rows %lld .. %lld: %s has rows 0 .. %lld",
                 static_cast<long long>(t), static_cast<long long>(begin),
                 static_cast<long long>(begin + position), name, static_cast<long long>(rows - 1));
  }
}

void check_cache(const rora_attention_shape* shape, const rora_batch* batch,
                 const rora_activation* qkv, const rora_activation* cache,
                 const rora_activation* y) {
  require_given(cache, "cache");
  require_same_context(qkv->context, cache->context, "cache");
  require_same_dtype(qkv, "qkv", cache, "cache");
  require_width(cache, "cache", 2 * even(shape->kv_heads * shape->head_dim));
  require_distinct(qkv, "qkv", cache, "cache");
  require_distinct(y, "y", cache, "cache");
  check_rows(batch, cache->tokens, "cache");
}

}  // namespace
}  // namespace rora

using namespace rora;

rora_status rora_embedding_forward(const rora_weight* table, const rora_batch* batch,
                                   rora_activation* y) {
  return guard([&] {
    require_given(table, "table");
    require_given(batch, "batch");
    require_given(y, "y");
    require_same_context(table->context, batch->context, "batch");
    require_same_context(table->context, y->context, "y");
    require_width(y, "y", table->in_features);
    require_room(y, "y", batch->tokens);
    check_ids(batch, table);
    y->tokens = batch->tokens;
    EmbeddingOp op{};
    op.table = table, op.batch = batch, op.y = y;
    table->context->kernels->embedding_forward(*table->context, op);
  });
}

rora_status rora_embedding_backward(rora_weight* table, const rora_batch* batch,
                                    const rora_activation* dy) {
  return guard([&] {
    require_given(table, "table");
    require_given(batch, "batch");
    require_given(dy, "dy");
    require_same_context(table->context, batch->context, "batch");
    require_same_context(table->context, dy->context, "dy");
    RORA_REQUIRE(table->gradient != nullptr,
                 "the table is not trained: call rora_weight_train first");
    require_width(dy, "dy", table->in_features);
    require_tokens(dy, "dy", batch->tokens);
    check_ids(batch, table);
    EmbeddingOp op{};
    op.table = table, op.batch = batch, op.dy = dy;
    table->context->kernels->embedding_backward(*table->context, op);
  });
}

rora_status rora_rmsnorm_forward(const rora_activation* x, const float* weight, float eps,
                                 rora_activation* y) {
  return guard([&] {
    check_norm(x, weight, eps);
    require_given(y, "y");
    require_same_context(x->context, y->context, "y");
    require_same_dtype(x, "x", y, "y");
    require_distinct(x, "x", y, "y");
    require_width(y, "y", x->width);
    require_room(y, "y", x->tokens);
    y->tokens = x->tokens;
    RmsNormOp op{};
    op.x = x, op.weight = weight, op.eps = eps, op.y = y;
    x->context->kernels->rmsnorm_forward(*x->context, op);
  });
}

rora_status rora_rmsnorm_backward(const rora_activation* x, const float* weight, float eps,
                                  const rora_activation* dy, float* weight_gradient,
                                  rora_activation* dx) {
  return guard([&] {
    check_norm(x, weight, eps);
    require_given(dy, "dy");
    require_given(dx, "dx");
    require_same_context(x->context, dy->context, "dy");
    require_same_context(x->context, dx->context, "dx");
    require_same_dtype(x, "x", dy, "dy");
    require_same_dtype(x, "x", dx, "dx");
    require_distinct(x, "x", dx, "dx");
    require_distinct(dy, "dy", dx, "dx");
    require_width(dy, "dy", x->width);
    require_width(dx, "dx", x->width);
    require_tokens(dy, "dy", x->tokens);
    require_tokens(dx, "dx", x->tokens);
    RORA_REQUIRE(weight_gradient != weight,
                 "weight_gradient is weight: it must be memory of its own");
    RmsNormOp op{};
    op.x = x, op.weight = weight, op.eps = eps;
    op.dy = dy, op.weight_gradient = weight_gradient, op.dx = dx;
    x->context->kernels->rmsnorm_backward(*x->context, op);
  });
}

namespace rora {
namespace {

constexpr int64_t kFirstPositions = 512;

// Angles of at least `positions` positions; twice as many as before, so that it is seldom done.
void lengthen(const rora_rope& rope, int64_t positions) {
  const int64_t half = rope.head_dim / 2, known = int64_t(rope.cosines.size()) / half;
  if (positions <= known) return;
  const int64_t wanted =
      std::min(rope.positions, std::max({positions, 2 * known, kFirstPositions}));
  rope.cosines.reserve(size_t(wanted * half));
  rope.sines.reserve(size_t(wanted * half));
  for (int64_t p = known; p < wanted; ++p)
    for (int64_t i = 0; i < half; ++i) {
      const float angle = float(p) * rope.inverse_frequencies[size_t(i)];
      rope.cosines.push_back(float(std::cos(double(angle))));
      rope.sines.push_back(float(std::sin(double(angle))));
    }
}

// The same on a device that cannot read the host's.
void bring_to_device(const rora_rope& rope) {
  rora_context& context = *rope.context;
  const int64_t values = int64_t(rope.cosines.size()), bytes = values * int64_t(sizeof(float));
  if (context.device->on_host || rope.on_device == values) return;
  context.device->release(context, rope.device);
  rope.device = nullptr, rope.on_device = 0;
  rope.device = static_cast<float*>(context.device->allocate(context, 2 * bytes));
  context.device->upload(context, rope.device, rope.cosines.data(), bytes);
  context.device->upload(context, rope.device + values, rope.sines.data(), bytes);
  rope.on_device = values;
}

}  // namespace
}  // namespace rora

rora_status rora_rope_create(rora_context* context, int64_t positions, int64_t head_dim,
                             const float* inverse_frequencies, rora_rope** rope) {
  return guard([&] {
    require_given(context, "context");
    require_given(inverse_frequencies, "inverse_frequencies");
    require_given(rope, "rope");
    RORA_REQUIRE(positions >= 1, "positions=%lld: must be at least 1",
                 static_cast<long long>(positions));
    RORA_REQUIRE(head_dim >= 2 && head_dim % 2 == 0, "head_dim=%lld: must be even and at least 2",
                 static_cast<long long>(head_dim));
    const int64_t half = head_dim / 2;
    RORA_REQUIRE(positions <= INT64_MAX / int64_t(sizeof(float)) / half,
                 "positions=%lld: the table would be too large", static_cast<long long>(positions));
    for (int64_t i = 0; i < half; ++i)
      RORA_REQUIRE(std::isfinite(inverse_frequencies[i]), "inverse_frequencies[%lld] is not finite",
                   static_cast<long long>(i));
    auto made = std::make_unique<rora_rope>();
    made->context = context, made->positions = positions, made->head_dim = head_dim;
    made->inverse_frequencies.assign(inverse_frequencies, inverse_frequencies + half);
    *rope = made.release();
  });
}

void rora_rope_destroy(rora_rope* rope) {
  if (rope == nullptr) return;
  if (rope->device != nullptr) rope->context->device->release(*rope->context, rope->device);
  delete rope;
}

rora_status rora_rope_apply(const rora_rope* rope, const rora_batch* batch, int64_t column,
                            int64_t heads, int32_t inverse, rora_activation* x) {
  return guard([&] {
    require_given(rope, "rope");
    require_given(batch, "batch");
    require_given(x, "x");
    require_same_context(rope->context, batch->context, "batch");
    require_same_context(rope->context, x->context, "x");
    RORA_REQUIRE(heads >= 0 && heads <= x->width, "heads=%lld: must be 0 .. the width of x (%lld)",
                 static_cast<long long>(heads), static_cast<long long>(x->width));
    RORA_REQUIRE(rope->head_dim <= x->width, "head_dim=%lld: must be at most the width of x (%lld)",
                 static_cast<long long>(rope->head_dim), static_cast<long long>(x->width));
    require_columns(x, "x", column, heads * rope->head_dim);
    require_tokens(x, "x", batch->tokens);
    int64_t last = 0;
    for (int64_t t = 0; t < batch->tokens; ++t) {
      RORA_REQUIRE(batch->positions[t] >= 0 && batch->positions[t] < rope->positions,
                   "token %lld is at position %d: the rotary table has %lld positions",
                   static_cast<long long>(t), batch->positions[t],
                   static_cast<long long>(rope->positions));
      last = std::max(last, int64_t(batch->positions[t]));
    }
    lengthen(*rope, last + 1);
    bring_to_device(*rope);
    RopeOp op{};
    op.rope = rope, op.batch = batch, op.column = column, op.heads = heads;
    op.inverse = inverse != 0, op.x = x;
    rope->context->kernels->rope(*rope->context, op);
  });
}

rora_status rora_swiglu_forward(const rora_activation* gate_up, int64_t up_column,
                                rora_activation* y) {
  return guard([&] {
    require_given(gate_up, "gate_up");
    require_given(y, "y");
    check_gate_up(gate_up, up_column, y, "y");
    require_room(y, "y", gate_up->tokens);
    y->tokens = gate_up->tokens;
    SwigluOp op{};
    op.gate_up = gate_up, op.up_column = up_column, op.y = y;
    gate_up->context->kernels->swiglu_forward(*gate_up->context, op);
  });
}

rora_status rora_swiglu_backward(const rora_activation* gate_up, int64_t up_column,
                                 const rora_activation* dy, rora_activation* d_gate_up) {
  return guard([&] {
    require_given(gate_up, "gate_up");
    require_given(dy, "dy");
    require_given(d_gate_up, "d_gate_up");
    check_gate_up(gate_up, up_column, dy, "dy");
    require_tokens(dy, "dy", gate_up->tokens);
    require_same_context(gate_up->context, d_gate_up->context, "d_gate_up");
    require_same_dtype(gate_up, "gate_up", d_gate_up, "d_gate_up");
    require_distinct(dy, "dy", d_gate_up, "d_gate_up");
    require_width(d_gate_up, "d_gate_up", gate_up->width);
    require_room(d_gate_up, "d_gate_up", gate_up->tokens);
    d_gate_up->tokens = gate_up->tokens;
    SwigluOp op{};
    op.gate_up = gate_up, op.up_column = up_column, op.dy = dy, op.d_gate_up = d_gate_up;
    gate_up->context->kernels->swiglu_backward(*gate_up->context, op);
  });
}

rora_status rora_attention_forward(const rora_attention_shape* shape, const rora_batch* batch,
                                   const rora_activation* qkv, float* lse, rora_activation* y) {
  return guard([&] {
    check_attention(shape, batch, qkv, y);
    require_room(y, "y", qkv->tokens);
    check_rows(batch, qkv->tokens, "qkv");
    y->tokens = qkv->tokens;
    AttentionOp op{};
    op.shape = *shape, op.batch = batch, op.qkv = qkv, op.lse = lse, op.y = y;
    qkv->context->kernels->attention_forward(*qkv->context, op);
  });
}

rora_status rora_attention_backward(const rora_attention_shape* shape, const rora_batch* batch,
                                    const rora_activation* qkv, const rora_activation* y,
                                    const float* lse, const rora_activation* dy,
                                    rora_activation* d_qkv) {
  return guard([&] {
    check_attention(shape, batch, qkv, y);
    require_given(lse, "lse");
    require_given(dy, "dy");
    require_given(d_qkv, "d_qkv");
    require_tokens(y, "y", qkv->tokens);
    require_tokens(dy, "dy", qkv->tokens);
    require_width(dy, "dy", y->width);
    require_width(d_qkv, "d_qkv", qkv->width);
    require_room(d_qkv, "d_qkv", qkv->tokens);
    require_same_dtype(qkv, "qkv", dy, "dy");
    require_same_dtype(qkv, "qkv", d_qkv, "d_qkv");
    require_same_context(qkv->context, dy->context, "dy");
    require_same_context(qkv->context, d_qkv->context, "d_qkv");
    require_distinct(qkv, "qkv", d_qkv, "d_qkv");
    require_distinct(dy, "dy", d_qkv, "d_qkv");
    require_distinct(y, "y", d_qkv, "d_qkv");
    check_rows(batch, qkv->tokens, "qkv");
    d_qkv->tokens = qkv->tokens;
    AttentionOp op{};
    op.shape = *shape, op.batch = batch, op.qkv = qkv, op.out = y;
    op.lse = const_cast<float*>(lse), op.dy = dy, op.d_qkv = d_qkv;
    qkv->context->kernels->attention_backward(*qkv->context, op);
  });
}

rora_status rora_attention_cached(const rora_attention_shape* shape, const rora_batch* batch,
                                  const rora_activation* qkv, rora_activation* cache,
                                  rora_activation* y) {
  return guard([&] {
    check_attention(shape, batch, qkv, y);
    require_room(y, "y", qkv->tokens);
    check_cache(shape, batch, qkv, cache, y);
    y->tokens = qkv->tokens;
    AttentionOp op{};
    op.shape = *shape, op.batch = batch, op.qkv = qkv, op.cache = cache, op.y = y;
    qkv->context->kernels->attention_cached(*qkv->context, op);
  });
}
