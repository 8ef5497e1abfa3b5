// The CUDA backend: every operator of api/kernel_table.h by the kernels of this folder. Activations
// are rows of `rows` elements, a multiple of 8: even(width) features, padding, and then each
// adapter's columns of the low-rank tail from a multiple of 8 on.
#include <algorithm>
#include <cstdlib>
#include <string>
#include <unordered_map>
#include <vector>

#include "api/backend.h"
#include "cuda/attention.h"
#include "cuda/columns.h"
#include "cuda/convert.h"
#include "cuda/dora.h"
#include "cuda/embedding.h"
#include "cuda/gemm.h"
#include "cuda/loss.h"
#include "cuda/memory.h"
#include "cuda/optimizer.h"
#include "cuda/rmsnorm.h"
#include "cuda/rope.h"
#include "cuda/skinny.h"
#include "cuda/swiglu.h"

namespace rora::cuda {
namespace {

constexpr int64_t kRowElements = 8;           // 16 bytes of bf16
constexpr int64_t kWorkspaceAlignment = 256;  // bytes

const BackendServices* services = nullptr;

[[noreturn]] void fail_with(rora_status status, const std::string& message) {
  services->fail(status, message.c_str());
  std::abort();  // not reached
}

void check(const char* error) {
  if (*error) fail_with(RORA_INTERNAL, std::string("cuda: ") + error);
}

// What a context on a GPU has.
struct State {
  int32_t index = -1;       // of the GPU; -1: the one that is the thread's
  Stream own = nullptr;     // made with the context
  Stream stream = nullptr;  // that work is queued on: its own or a caller's
  Machine machine;
  std::unordered_map<void*, int64_t> sizes;  // of allocations
  struct Block {
    void* data = nullptr;
    int64_t bytes = 0;
  };
  Block copies, workspace;
};

// Makes the context's GPU the thread's, too: it may be another than the one used last.
State& state_of(rora_context& context) {
  State& state = *static_cast<State*>(context.backend);
  use_device(state.index);
  return state;
}

// ---- memory ----

void* allocate(rora_context& context, int64_t bytes) {
  State& state = state_of(context);
  void* memory = bytes == INT64_MAX
                     ? nullptr
                     : allocate_memory(state.stream, std::max<int64_t>(bytes, kWorkspaceAlignment));
  if (memory == nullptr)
    fail_with(RORA_OUT_OF_MEMORY,
              "out of memory: " + std::to_string(bytes) + " bytes of the GPU asked for, " +
                  std::to_string(context.bytes) + " already in use by this context");
  state.sizes[memory] = bytes;
  context.bytes += bytes;
  return memory;
}

void release(rora_context& context, void* memory) noexcept {
  if (memory == nullptr) return;
  State& state = state_of(context);
  const auto found = state.sizes.find(memory);
  context.bytes -= found->second;
  state.sizes.erase(found);
  release_memory(state.stream, memory);
}

void release_weight(rora_context& context, void* memory, int64_t) noexcept {
  release(context, memory);
}

void upload_bytes(rora_context& context, void* target, const void* source, int64_t bytes) {
  if (bytes > 0) check(upload(state_of(context).stream, target, source, bytes));
}

void download_bytes(rora_context& context, void* target, const void* source, int64_t bytes) {
  if (bytes > 0) check(download(state_of(context).stream, target, source, bytes));
}

void clear_bytes(rora_context& context, void* target, int64_t bytes) {
  if (bytes > 0) check(clear(state_of(context).stream, target, bytes));
}

// What an operator needs while it runs, pieces of one block that grows when it must. Sizes are
// added up first, as a larger block lies elsewhere.
class Workspace {
 public:
  Workspace(State& state, State::Block& block) : state_(state), block_(block) {}
  explicit Workspace(rora_context& context)
      : Workspace(state_of(context), state_of(context).workspace) {}

  // `*piece` receives its place in hand_out().
  template <class T>
  void plan(T** piece, int64_t count) {
    pieces_.push_back({reinterpret_cast<void**>(piece), bytes_});
    bytes_ += round_up(std::max<int64_t>(count, 1) * int64_t(sizeof(T)), kWorkspaceAlignment);
  }
  // The workspace of an op of a product.
  template <class Op>
  void plan_for(Op& op, int64_t floats) {
    plan(&op.workspace, floats);
    op.workspace_floats = floats;
  }

  void hand_out() {
    if (bytes_ > block_.bytes) {
      if (block_.data) release_memory(state_.stream, block_.data);
      block_ = {};
      block_.data = allocate_memory(state_.stream, bytes_);
      if (block_.data == nullptr)
        fail_with(RORA_OUT_OF_MEMORY, "out of memory: a workspace of " + std::to_string(bytes_) +
                                          " bytes of the GPU asked for");
      block_.bytes = bytes_;
    }
    for (const Piece& piece : pieces_)
      *piece.target = static_cast<char*>(block_.data) + piece.offset;
  }

 private:
  struct Piece {
    void** target;
    int64_t offset;
  };
  State& state_;
  State::Block& block_;
  std::vector<Piece> pieces_;
  int64_t bytes_ = 0;
};

// ---- activations ----

// f(T{}) with the T of the type.
template <class F>
void with_type(rora_dtype dtype, const F& f) {
  if (dtype == RORA_F32)
    f(float{});
  else
    f(bf16{});
}

template <class T>
T* data(const rora_activation& a) {
  return static_cast<T*>(a.data);
}

int64_t pitch(const rora_activation& a) { return a.rows; }

int64_t element_bytes(rora_dtype dtype) { return dtype == RORA_F32 ? 4 : 2; }

int64_t padded(int64_t columns) { return round_up(columns, kRowElements); }

// Where projection i's H' or G' begins in a row of x or dy.
int64_t tail_column(const rora_linear& linear, const rora_activation& a, int i) {
  int64_t column = padded(even(a.width));
  for (int j = 0; j < i; ++j)
    if (linear.projection[j].adapter) column += padded(linear.projection[j].adapter->rank);
  return column;
}

// Columns as callers count them, features or from even(width) on the tail of a single projection,
// in a row.
int64_t column_of(const rora_activation& a, int64_t row) {
  return row < even(a.width) || a.tail == 0 ? row : padded(even(a.width)) + row - even(a.width);
}

int64_t lay_out(rora_activation& a) {
  // A tail is counted in even ranks; here each of up to four starts at a multiple of 8.
  const int64_t tail = a.tail == 0 ? 0 : padded(a.tail) + (kMaxProjections - 1) * kRowElements;
  a.rows = padded(even(a.width)) + tail;
  return product_or_max(a.max_tokens, a.rows * element_bytes(a.dtype));
}

void clear_padding(rora_context&, rora_activation&) {}  // kernels never look at it

// Rows of elements of either type, `offset` elements behind an address and `pitch` apart.
struct RowsAt {
  const void* data;
  rora_dtype dtype;
  int64_t offset, pitch;
};

RowsAt rows_of(const rora_activation& a, int64_t token, int64_t column) {
  return {a.data, a.dtype, token * pitch(a) + column, pitch(a)};
}

// target = source, or with `add` target += source.
void convert(Stream stream, int64_t rows, int64_t columns, const RowsAt& source,
             const RowsAt& target, bool add) {
  with_type(source.dtype, [&](auto from) {
    with_type(target.dtype, [&](auto to) {
      using From = decltype(from);
      using To = decltype(to);
      auto* data = static_cast<To*>(const_cast<void*>(target.data));
      check(convert_rows(
          stream, ConvertRows<From, To>{rows, columns,
                                        static_cast<const From*>(source.data) + source.offset,
                                        source.pitch, data + target.offset, target.pitch, add}));
    });
  });
}

void copy_rows(rora_context& context, const float* source, int64_t source_stride, float* target,
               int64_t target_stride, int64_t rows, int64_t columns) {
  convert(state_of(context).stream, rows, columns, {source, RORA_F32, 0, source_stride},
          {target, RORA_F32, 0, target_stride}, false);
}

// target[target_token + i] (+)= source[source_token + i], features only.
void move_tokens(rora_context& context, const rora_activation& source, int64_t source_token,
                 const rora_activation& target, int64_t target_token, int64_t count, bool add) {
  convert(state_of(context).stream, count, source.width, rows_of(source, source_token, 0),
          rows_of(target, target_token, 0), add);
}

void copy_activation(rora_context& context, const rora_activation& source,
                     rora_activation& target) {
  move_tokens(context, source, 0, target, 0, source.tokens, false);
}

void clear_activation(rora_context& context, rora_activation& a) {
  clear_bytes(context, a.data, a.tokens * pitch(a) * element_bytes(a.dtype));
}

void copy_tokens(rora_context& context, const rora_activation& source, int64_t source_token,
                 rora_activation& target, int64_t target_token, int64_t count) {
  move_tokens(context, source, source_token, target, target_token, count, false);
}

void add(rora_context& context, const AddOp& op) {
  move_tokens(context, *op.source, 0, *op.target, 0, op.source->tokens, true);
}

void rows_to_panels(rora_context& context, const RowsOp& op) {
  const rora_activation& a = *op.activation;
  convert(state_of(context).stream, a.tokens, op.columns, {op.rows, op.dtype, 0, op.stride},
          rows_of(a, 0, column_of(a, op.row)), false);
}

void panels_to_rows(rora_context& context, const RowsOp& op) {
  const rora_activation& a = *op.activation;
  convert(state_of(context).stream, op.tokens, op.columns,
          rows_of(a, op.token, column_of(a, op.row)), {op.rows, op.dtype, 0, op.stride}, op.add);
}

bool reaches_memory(rora_context&, const void* memory) { return reaches(memory); }

void write_weight(rora_context& context, const rora_weight& weight, int64_t row, int64_t rows,
                  rora_dtype source_dtype, const void* source, int64_t stride) {
  const Stream stream = state_of(context).stream;
  convert(stream, rows, weight.in_features, {source, source_dtype, 0, stride},
          {weight.data, weight.dtype, row * weight.pitch, weight.pitch}, false);
  check(finish(stream));
}

void use_stream(rora_context& context, void* stream) {
  State& state = state_of(context);
  const Stream next = stream == nullptr ? state.own : static_cast<Stream>(stream);
  if (next == state.stream) return;
  const char* error = follow(state.stream, next);
  if (*error)
    fail_with(RORA_INVALID_ARGUMENT,
              "the stream cannot be used: " + std::string(error) +
                  "; it must be of the CUDA context that was current when this one was opened");
  state.stream = next;
}

// ---- linear layers ----

bool drops(const LinearOp& op) { return op.linear->dropout > 0.0f; }

Dropout dropout_of(const LinearOp& op, int i) {
  const rora_linear& linear = *op.linear;
  return drops(op)
             ? make_dropout(linear.dropout, linear.seed, linear.step, linear.stream + uint32_t(i))
             : Dropout{};
}

const int32_t* order_of(const LinearOp& op) {
  return drops(op) ? op.batch->device + 4 * op.batch->room : nullptr;
}

const float* row_scale_of(const rora_adapter* adapter) {
  return adapter && adapter->magnitude ? adapter->row_scale : nullptr;
}

template <class T>
const T* weight_data(const rora_weight& weight) {
  return static_cast<const T*>(weight.data);
}

// A weight as T with its own pitch: where it lies, or, if it is of the other type, a copy in memory
// that `plan` was asked for.
template <class T>
class TypedWeight {
 public:
  void plan(const rora_weight& weight, Workspace& workspace) {
    weight_ = &weight;
    if (!is_typed()) workspace.plan(&copy_, weight.out_features * weight.pitch);
  }
  void make(Stream stream) const {
    if (is_typed()) return;
    convert(stream, weight_->out_features, weight_->in_features,
            {weight_->data, weight_->dtype, 0, weight_->pitch},
            {copy_, sizeof(T) == sizeof(float) ? RORA_F32 : RORA_BF16, 0, weight_->pitch}, false);
  }
  const T* data() const { return is_typed() ? weight_data<T>(*weight_) : copy_; }

 private:
  bool is_typed() const { return element_bytes(weight_->dtype) == int64_t(sizeof(T)); }

  const rora_weight* weight_ = nullptr;
  T* copy_ = nullptr;
};

// One linear operator on activations of type T.
template <class T>
class Linear {
 public:
  // Makes the copies of A and B that products take, of type T with padded rows: each call makes
  // them anew, as they are small beside what they are for.
  Linear(rora_context& context, const LinearOp& op)
      : state_(state_of(context)), op_(op), linear_(*op.linear) {
    Workspace copies(state_, state_.copies);
    for (int i = 0; i < linear_.projections; ++i)
      if (adapter(i)) copies.plan(&lora_A_[i], adapter(i)->rank * padded(linear_.in_features()));
    for (int i = 0; i < linear_.projections; ++i)
      if (adapter(i)) copies.plan(&lora_B_[i], out(i) * padded(adapter(i)->rank));
    for (int i = 0; i < linear_.projections; ++i)
      weight_[i].plan(*linear_.projection[i].weight, copies);
    copies.hand_out();
    for (int i = 0; i < linear_.projections; ++i) {
      weight_[i].make(state_.stream);
      if (!adapter(i)) continue;
      const int64_t in = linear_.in_features(), rank = adapter(i)->rank;
      check(convert_rows(state_.stream, ConvertRows<float, T>{rank, in, adapter(i)->lora_A, in,
                                                              lora_A_[i], padded(in), false}));
      check(
          convert_rows(state_.stream, ConvertRows<float, T>{out(i), rank, adapter(i)->lora_B, rank,
                                                            lora_B_[i], padded(rank), false}));
    }
  }

  // H' = gamma X' A^T of every adapter into x's tail.
  void shrink() {
    ShrinkForward<T> op;
    op.tokens = op_.x->tokens, op.in = linear_.in_features();
    op.projections = linear_.projections;
    for (int i = 0; i < linear_.projections; ++i)
      if (adapter(i))
        op.projection[i] = {adapter(i)->rank,  adapter(i)->scaling, lora_A_[i], padded(op.in), h(i),
                            dropout_of(op_, i)};
    op.x = data<T>(*op_.x), op.x_pitch = pitch(*op_.x);
    op.order = order_of(op_);
    run(op, shrink_workspace(state_.machine, op), shrink_forward<T>);
  }

  // Y = s o (X W^T + H' B^T) + bias + residual, or with dropout PEFT's form of DoRA (gemm.h).
  void forward() {
    shrink();
    GemmForward<T> op = forward_op();
    op.order = order_of(op_);
    op.y = data<T>(*op_.y), op.y_pitch = pitch(*op_.y);
    if (op_.residual)
      op.residual = data<T>(*op_.residual), op.residual_pitch = pitch(*op_.residual);
    run(op, gemm_workspace(state_.machine, op), gemm_forward<T, T>);
  }

  void backward() {
    shrink_gradient();
    if (op_.x) {
      adapter_gradients();
      weight_gradients();
      magnitude_gradients();
    }
    bias_gradients();
    if (op_.dx) input_gradient();
  }

 private:
  const rora_adapter* adapter(int i) const { return linear_.projection[i].adapter; }
  int64_t out(int i) const { return linear_.projection[i].weight->out_features; }
  T* h(int i) const { return data<T>(*op_.x) + tail_column(linear_, *op_.x, i); }
  T* g(int i) const { return data<T>(*op_.dy) + tail_column(linear_, *op_.dy, i); }
  T* dy(int i) const { return data<T>(*op_.dy) + linear_.column(i); }

  template <class Op>
  void run(Op& op, int64_t floats, const char* (*function)(Stream, const Machine&, const Op&)) {
    Workspace workspace(state_, state_.workspace);
    workspace.plan_for(op, floats);
    workspace.hand_out();
    check(function(state_.stream, state_.machine, op));
  }

  // X W^T and the slabs of all projections, scaled; without y and residual.
  GemmForward<T> forward_op() const {
    GemmForward<T> op;
    op.tokens = op_.x->tokens, op.in = linear_.in_features();
    op.projections = linear_.projections;
    op.x = data<T>(*op_.x), op.x_pitch = pitch(*op_.x);
    for (int i = 0; i < linear_.projections; ++i) {
      const rora_linear::Projection& projection = linear_.projection[i];
      auto& target = op.projection[i];
      target.out = out(i), target.column = linear_.column(i);
      target.weight = weight_[i].data();
      target.weight_pitch = projection.weight->pitch;
      target.bias = projection.bias;
      if (!adapter(i)) continue;
      target.rank = adapter(i)->rank;
      target.h = h(i), target.lora_B = lora_B_[i], target.lora_B_pitch = padded(target.rank);
      target.row_scale = row_scale_of(adapter(i));
      target.dropout = dropout_of(op_, i);
    }
    return op;
  }

  // G' = gamma (s o dY) B of every adapter into dy's tail.
  void shrink_gradient() {
    ShrinkBackward<T> op;
    op.tokens = op_.dy->tokens;
    op.projections = linear_.projections;
    for (int i = 0; i < linear_.projections; ++i) {
      op.projection[i].out = out(i), op.projection[i].column = linear_.column(i);
      if (adapter(i))
        op.projection[i] = {out(i),
                            linear_.column(i),
                            adapter(i)->rank,
                            adapter(i)->scaling,
                            row_scale_of(adapter(i)),
                            lora_B_[i],
                            padded(adapter(i)->rank),
                            g(i)};
    }
    op.dy = data<T>(*op_.dy), op.dy_pitch = pitch(*op_.dy);
    run(op, shrink_workspace(state_.machine, op), shrink_backward<T>);
  }

  // dA = G'^T X', dB = (s o dY)^T H'.
  void adapter_gradients() {
    AdapterSums<T> op;
    op.tokens = op_.dy->tokens, op.in = linear_.in_features();
    op.projections = linear_.projections;
    for (int i = 0; i < linear_.projections; ++i) {
      auto& target = op.projection[i];
      target.out = out(i), target.column = linear_.column(i);
      if (!adapter(i) || !adapter(i)->lora_A_gradient) continue;
      target.rank = adapter(i)->train_rank;
      target.h = h(i), target.g = g(i);
      target.lora_A_gradient = adapter(i)->lora_A_gradient, target.lora_A_pitch = op.in;
      target.lora_B_gradient = adapter(i)->lora_B_gradient;
      target.lora_B_pitch = adapter(i)->rank;
      target.row_scale = row_scale_of(adapter(i));
      target.dropout = dropout_of(op_, i);
    }
    op.x = data<T>(*op_.x), op.x_pitch = pitch(*op_.x);
    op.dy = data<T>(*op_.dy), op.dy_pitch = pitch(*op_.dy);
    op.order = order_of(op_);
    run(op, sums_workspace(state_.machine, op), adapter_sums<T>);
  }

  // dW = dY^T X.
  void weight_gradients() {
    WeightSums<T> op;
    op.tokens = op_.dy->tokens, op.in = linear_.in_features();
    for (int i = 0; i < linear_.projections; ++i)
      if (linear_.projection[i].weight->gradient)
        op.projection[op.projections++] = {out(i), linear_.column(i),
                                           linear_.projection[i].weight->gradient, op.in};
    if (op.projections == 0) return;
    op.x = data<T>(*op_.x), op.x_pitch = pitch(*op_.x);
    op.dy = data<T>(*op_.dy), op.dy_pitch = pitch(*op_.dy);
    run(op, sums_workspace(state_.machine, op), weight_sums<T>);
  }

  // dm[n] = sum_t dY[t, n] (X' W^T + H' B^T)[t, n] / |V[n]|; the product is formed once more, of
  // the dropped input if there is dropout.
  void magnitude_gradients() {
    for (int i = 0; i < linear_.projections; ++i) {
      if (!adapter(i) || !adapter(i)->magnitude_gradient) continue;
      GemmForward<T> product = forward_op();
      product.projections = 1;
      product.projection[0] = product.projection[i];
      product.projection[0].column = 0;
      product.projection[0].bias = product.projection[0].row_scale = nullptr;
      product.y_pitch = padded(out(i));
      // With x's pitch, as H' is read with it, too.
      MaskRows<T> dropped = {product.tokens, product.in,      product.x,     product.x_pitch,
                             nullptr,        product.x_pitch, order_of(op_), dropout_of(op_, i)};
      ColumnSums<T> sums = {product.tokens,
                            out(i),
                            dy(i),
                            pitch(*op_.dy),
                            nullptr,
                            product.y_pitch,
                            adapter(i)->norms,
                            adapter(i)->magnitude_gradient,
                            nullptr};
      Workspace workspace(state_, state_.workspace);
      workspace.plan(&product.y, product.tokens * product.y_pitch);
      if (drops(op_)) workspace.plan(&dropped.target, product.tokens * product.x_pitch);
      workspace.plan(&sums.workspace, column_sums_workspace(sums.tokens, sums.columns));
      workspace.plan_for(product, gemm_workspace(state_.machine, product));
      workspace.hand_out();
      if (drops(op_)) {
        check(mask_rows(state_.stream, dropped));
        product.x = dropped.target;
      }
      check(gemm_forward(state_.stream, state_.machine, product));
      sums.other = product.y;
      check(column_sums(state_.stream, sums));
    }
  }

  void bias_gradients() {
    for (int i = 0; i < linear_.projections; ++i) {
      if (!linear_.projection[i].bias_gradient) continue;
      ColumnSums<T> sums = {op_.dy->tokens, out(i), dy(i),   pitch(*op_.dy),
                            nullptr,        0,      nullptr, linear_.projection[i].bias_gradient,
                            nullptr};
      Workspace workspace(state_, state_.workspace);
      workspace.plan(&sums.workspace, column_sums_workspace(sums.tokens, sums.columns));
      workspace.hand_out();
      check(column_sums(state_.stream, sums));
    }
  }

  // dX = sum over projections of (s o dY) W + G' A, masked where there is dropout (gemm.h), once
  // for the whole group.
  void input_gradient() {
    GemmBackward<T> op;
    op.tokens = op_.dy->tokens, op.in = linear_.in_features();
    op.projections = linear_.projections;
    op.dy = data<T>(*op_.dy), op.dy_pitch = pitch(*op_.dy);
    for (int i = 0; i < linear_.projections; ++i) {
      auto& target = op.projection[i];
      target.out = out(i), target.column = linear_.column(i);
      target.weight = weight_[i].data();
      target.weight_pitch = linear_.projection[i].weight->pitch;
      if (!adapter(i)) continue;
      target.row_scale = row_scale_of(adapter(i));
      target.rank = adapter(i)->rank;
      target.g = g(i), target.lora_A = lora_A_[i], target.lora_A_pitch = padded(op.in);
      target.dropout = dropout_of(op_, i);
    }
    op.order = order_of(op_);
    op.accumulate = op_.accumulate;
    op.dx = data<T>(*op_.dx), op.dx_pitch = pitch(*op_.dx);
    run(op, gemm_workspace(state_.machine, op), gemm_backward<T>);
  }

  State& state_;
  const LinearOp& op_;
  const rora_linear& linear_;
  T* lora_A_[kMaxProjections] = {};
  T* lora_B_[kMaxProjections] = {};
  TypedWeight<T> weight_[kMaxProjections];
};

void linear_shrink(rora_context& context, const LinearOp& op) {
  with_type(op.x->dtype, [&](auto type) { Linear<decltype(type)>(context, op).shrink(); });
}

void linear_forward(rora_context& context, const LinearOp& op) {
  with_type(op.x->dtype, [&](auto type) { Linear<decltype(type)>(context, op).forward(); });
}

void linear_backward(rora_context& context, const LinearOp& op) {
  with_type(op.dy->dtype, [&](auto type) { Linear<decltype(type)>(context, op).backward(); });
}

// ---- the other operators ----

const int32_t* ids_of(const rora_batch& batch) { return batch.device; }
const int32_t* positions_of(const rora_batch& batch) { return batch.device + 2 * batch.room; }
const int32_t* begins_of(const rora_batch& batch) { return batch.device + 3 * batch.room; }

void embedding_forward(rora_context& context, const EmbeddingOp& op) {
  with_type(op.table->dtype, [&](auto table_type) {
    with_type(op.y->dtype, [&](auto type) {
      using Table = decltype(table_type);
      using T = decltype(type);
      check(cuda::embedding_forward(
          state_of(context).stream,
          EmbeddingForward<Table, T>{op.batch->tokens, op.table->in_features, ids_of(*op.batch),
                                     weight_data<Table>(*op.table), op.table->pitch, data<T>(*op.y),
                                     pitch(*op.y)}));
    });
  });
}

void embedding_backward(rora_context& context, const EmbeddingOp& op) {
  with_type(op.dy->dtype, [&](auto type) {
    using T = decltype(type);
    check(cuda::embedding_backward(
        state_of(context).stream,
        EmbeddingBackward<T>{op.batch->tokens, op.table->in_features, ids_of(*op.batch),
                             data<T>(*op.dy), pitch(*op.dy), op.table->gradient,
                             op.table->in_features}));
  });
}

void rmsnorm_forward(rora_context& context, const RmsNormOp& op) {
  with_type(op.x->dtype, [&](auto type) {
    using T = decltype(type);
    check(cuda::rmsnorm_forward(
        state_of(context).stream,
        RmsNormForward<T>{op.x->tokens, op.x->width, data<T>(*op.x), pitch(*op.x), op.weight,
                          op.eps, data<T>(*op.y), pitch(*op.y)}));
  });
}

void rmsnorm_backward(rora_context& context, const RmsNormOp& op) {
  with_type(op.x->dtype, [&](auto type) {
    using T = decltype(type);
    RmsNormBackward<T> backward = {op.x->tokens,    op.x->width,        data<T>(*op.x),
                                   pitch(*op.x),    op.weight,          op.eps,
                                   data<T>(*op.dy), pitch(*op.dy),      data<T>(*op.dx),
                                   pitch(*op.dx),   op.weight_gradient, nullptr};
    Workspace workspace(context);
    if (op.weight_gradient)
      workspace.plan(&backward.workspace, rmsnorm_workspace(op.x->tokens, op.x->width));
    workspace.hand_out();
    check(cuda::rmsnorm_backward(state_of(context).stream, backward));
  });
}

void swiglu_forward(rora_context& context, const SwigluOp& op) {
  with_type(op.y->dtype, [&](auto type) {
    using T = decltype(type);
    const T* gate = data<T>(*op.gate_up);
    check(
        cuda::swiglu_forward(state_of(context).stream,
                             SwigluForward<T>{op.y->tokens, op.y->width, gate, gate + op.up_column,
                                              pitch(*op.gate_up), data<T>(*op.y), pitch(*op.y)}));
  });
}

void swiglu_backward(rora_context& context, const SwigluOp& op) {
  with_type(op.dy->dtype, [&](auto type) {
    using T = decltype(type);
    const T* gate = data<T>(*op.gate_up);
    T* d_gate = data<T>(*op.d_gate_up);
    check(cuda::swiglu_backward(
        state_of(context).stream,
        SwigluBackward<T>{op.dy->tokens, op.dy->width, gate, gate + op.up_column,
                          pitch(*op.gate_up), data<T>(*op.dy), pitch(*op.dy), d_gate,
                          d_gate + op.up_column, pitch(*op.d_gate_up)}));
  });
}

void rope(rora_context& context, const RopeOp& op) {
  const int64_t values = int64_t(op.rope->cosines.size());
  with_type(op.x->dtype, [&](auto type) {
    using T = decltype(type);
    check(cuda::rope(state_of(context).stream,
                     Rope<T>{op.batch->tokens, op.heads, op.rope->head_dim, positions_of(*op.batch),
                             op.rope->device, op.rope->device + values, op.inverse,
                             data<T>(*op.x) + op.column, pitch(*op.x)}));
  });
}

int64_t lse_pitch(const AttentionOp& op) { return round_up(op.qkv->max_tokens, 64); }

// Queries, and keys and values in `keys`.
template <class T>
AttentionInputs<T> inputs_of(const AttentionOp& op, const rora_activation& keys, int64_t key_column,
                             int64_t value_column) {
  return {op.qkv->tokens,
          op.shape.heads,
          op.shape.kv_heads,
          op.shape.head_dim,
          data<T>(*op.qkv),
          pitch(*op.qkv),
          data<T>(keys) + key_column,
          data<T>(keys) + value_column,
          pitch(keys),
          begins_of(*op.batch),
          positions_of(*op.batch)};
}

void check_head_dim(const AttentionOp& op) {
  if (op.shape.head_dim > kMaxHeadDim)
    fail_with(RORA_UNSUPPORTED, "head_dim=" + std::to_string(op.shape.head_dim) +
                                    ": the CUDA backend has up to " + std::to_string(kMaxHeadDim));
}

void attention_forward(rora_context& context, const AttentionOp& op) {
  check_head_dim(op);
  with_type(op.qkv->dtype, [&](auto type) {
    using T = decltype(type);
    check(cuda::attention_forward(
        state_of(context).stream,
        AttentionForward<T>{inputs_of<T>(op, *op.qkv, op.shape.key_column, op.shape.value_column),
                            data<T>(*op.y), pitch(*op.y), op.lse, lse_pitch(op)}));
  });
}

void attention_backward(rora_context& context, const AttentionOp& op) {
  check_head_dim(op);
  with_type(op.qkv->dtype, [&](auto type) {
    using T = decltype(type);
    T* d = data<T>(*op.d_qkv);
    AttentionBackward<T> backward = {
        inputs_of<T>(op, *op.qkv, op.shape.key_column, op.shape.value_column),
        data<T>(*op.out),
        pitch(*op.out),
        op.lse,
        lse_pitch(op),
        data<T>(*op.dy),
        pitch(*op.dy),
        d,
        d + op.shape.key_column,
        d + op.shape.value_column,
        pitch(*op.d_qkv),
        pitch(*op.d_qkv),
        nullptr};
    Workspace workspace(context);
    workspace.plan(&backward.workspace, attention_workspace(op.qkv->tokens, op.shape.heads));
    workspace.hand_out();
    check(cuda::attention_backward(state_of(context).stream, backward));
  });
}

void attention_cached(rora_context& context, const AttentionOp& op) {
  check_head_dim(op);
  int64_t rows = 1;
  for (int64_t t = 0; t < op.batch->tokens; ++t)
    rows = std::max<int64_t>(rows, op.batch->positions[t] + 1);
  const int64_t value_column = even(op.shape.kv_heads * op.shape.head_dim);
  with_type(op.qkv->dtype, [&](auto type) {
    using T = decltype(type);
    T* cache = data<T>(*op.cache);
    AttentionCached<T> cached = {
        inputs_of<T>(op, *op.cache, 0, value_column),
        data<T>(*op.qkv) + op.shape.key_column,
        data<T>(*op.qkv) + op.shape.value_column,
        pitch(*op.qkv),
        cache,
        cache + value_column,
        data<T>(*op.y),
        pitch(*op.y),
        attention_prefers_tiles(op.batch->tokens, op.batch->begins, op.batch->positions),
        attention_splits(op.batch->tokens, op.shape.kv_heads, rows),
        nullptr};
    Workspace workspace(context);
    workspace.plan(&cached.workspace, attention_cached_workspace(op.batch->tokens, op.shape.heads,
                                                                 op.shape.head_dim, cached.splits));
    workspace.hand_out();
    check(cuda::attention_cached(state_of(context).stream, cached));
  });
}

// Rows of logits at a time: so many bytes of them, but no fewer rows than these, as few make slow
// products. Emulated, small losses meet several chunks, too.
#if defined(__CUDACC__)
constexpr int64_t kLossBytes = int64_t(256) << 20, kLossRows = 1024;
#else
constexpr int64_t kLossBytes = int64_t(64) << 10, kLossRows = 200;
#endif

int64_t loss_rows(const CrossEntropyOp& op, int64_t supervised) {
  const int64_t row_bytes = padded(op.head->out_features) * int64_t(sizeof(float));
  return std::max<int64_t>(1, std::min(supervised, std::max(kLossRows, kLossBytes / row_bytes)));
}

// The head's product with the supervised tokens alone, gathered, some rows of logits at a time.
// These are floats; they become their own gradient, which is rounded to T and gives dx and the
// head's.
template <class T>
class CrossEntropyRun {
 public:
  CrossEntropyRun(rora_context& context, const CrossEntropyOp& op)
      : context_(context), state_(state_of(context)), op_(op) {
    for (int64_t t = 0; t < op.batch->tokens; ++t)
      if (op.batch->labels[t] >= 0) {
        tokens_.push_back(int32_t(t));
        labels_.push_back(op.batch->labels[t]);
      }
  }

  void run() {
    const int64_t count = int64_t(tokens_.size());
    *op_.loss_sum = 0;
    if (op_.token_loss) std::fill_n(op_.token_loss, op_.batch->tokens, 0.0f);
    if (op_.dx) clear_activation(context_, *op_.dx);
    if (count == 0) return;
    prepare(count);
    for (int64_t first = 0; first < count; first += rows_)
      chunk(first, std::min(rows_, count - first));
    if (op_.dx)
      check(move_rows(state_.stream, MoveRows<T>{count, logits_.in, index_, dx_, logits_.x_pitch,
                                                 data<T>(*op_.dx), pitch(*op_.dx), true}));
    bring_back(count);
  }

 private:
  void prepare(int64_t count) {
    Workspace copies(state_, state_.copies);
    head_.plan(*op_.head, copies);
    copies.hand_out();
    head_.make(state_.stream);
    rows_ = loss_rows(op_, count);
    fill_ops();
    Workspace workspace(context_);
    workspace.plan(&index_, count);
    workspace.plan(&device_labels_, count);
    workspace.plan(&losses_, count);
    workspace.plan(&total_, 1);
    workspace.plan(&logits_.y, rows_ * logits_.y_pitch);
    if (op_.dx && sizeof(T) != sizeof(float)) workspace.plan(&rounded_, rows_ * logits_.y_pitch);
    workspace.plan(&x_, count * logits_.x_pitch);
    workspace.plan(&dx_, op_.dx ? count * logits_.x_pitch : 0);
    // The last chunk may have fewer rows, which fewer tiles and more slices may serve.
    const int64_t last = count % rows_ == 0 ? rows_ : count % rows_;
    workspace.plan_for(logits_, most_floats(logits_, last, [&](const auto& op) {
                         return gemm_workspace(state_.machine, op);
                       }));
    workspace.plan_for(gradient_, most_floats(gradient_, last, [&](const auto& op) {
                         return gemm_workspace(state_.machine, op);
                       }));
    workspace.plan_for(sums_, most_floats(sums_, last, [&](const auto& op) {
                         return sums_workspace(state_.machine, op);
                       }));
    workspace.hand_out();
    upload_bytes(context_, index_, tokens_.data(), count * int64_t(sizeof(int32_t)));
    upload_bytes(context_, device_labels_, labels_.data(), count * int64_t(sizeof(int32_t)));
    clear_bytes(context_, total_, int64_t(sizeof(double)));
    check(move_rows(state_.stream, MoveRows<T>{count, logits_.in, index_, data<T>(*op_.x),
                                               pitch(*op_.x), x_, logits_.x_pitch, false}));
  }

  // What a whole chunk's op or one of `last` rows needs, whichever is more.
  template <class Op, class Floats>
  static int64_t most_floats(Op op, int64_t last, const Floats& floats) {
    const int64_t whole = floats(op);
    op.tokens = last;
    return std::max(whole, floats(op));
  }

  void fill_ops() {
    const int64_t vocabulary = op_.head->out_features, hidden = op_.head->in_features;
    logits_.tokens = gradient_.tokens = sums_.tokens = rows_;
    logits_.in = gradient_.in = sums_.in = hidden;
    logits_.projections = gradient_.projections = 1;
    logits_.projection[0].out = gradient_.projection[0].out = vocabulary;
    logits_.projection[0].weight = gradient_.projection[0].weight = head_.data();
    logits_.projection[0].weight_pitch = gradient_.projection[0].weight_pitch = op_.head->pitch;
    sums_.projections = op_.head->gradient && op_.dx ? 1 : 0;
    sums_.projection[0] = {vocabulary, 0, op_.head->gradient, hidden};
    logits_.x_pitch = gradient_.dx_pitch = sums_.x_pitch = padded(hidden);
    logits_.y_pitch = gradient_.dy_pitch = sums_.dy_pitch = padded(vocabulary);
  }

  void chunk(int64_t first, int64_t rows) {
    logits_.tokens = gradient_.tokens = sums_.tokens = rows;
    logits_.x = sums_.x = x_ + first * logits_.x_pitch;
    check(gemm_forward(state_.stream, state_.machine, logits_));
    check(cuda::cross_entropy(
        state_.stream, CrossEntropy<float>{rows, op_.head->out_features, logits_.y, logits_.y_pitch,
                                           device_labels_ + first, op_.divisor, op_.dx != nullptr,
                                           losses_ + first, nullptr, total_}));
    if (!op_.dx) return;
    gradient_.dy = sums_.dy = rounded_gradient(rows);
    gradient_.dx = dx_ + first * logits_.x_pitch;
    check(gemm_backward(state_.stream, state_.machine, gradient_));
    if (sums_.projections > 0) check(weight_sums(state_.stream, state_.machine, sums_));
  }

  const T* rounded_gradient(int64_t rows) const {
    if constexpr (sizeof(T) == sizeof(float)) {
      return logits_.y;
    } else {
      check(convert_rows(state_.stream,
                         ConvertRows<float, T>{rows, op_.head->out_features, logits_.y,
                                               logits_.y_pitch, rounded_, logits_.y_pitch, false}));
      return rounded_;
    }
  }

  void bring_back(int64_t count) {
    download_bytes(context_, op_.loss_sum, total_, int64_t(sizeof(double)));
    if (!op_.token_loss) return;
    std::vector<double> losses(static_cast<size_t>(count));
    download_bytes(context_, losses.data(), losses_, count * int64_t(sizeof(double)));
    for (size_t i = 0; i < losses.size(); ++i) op_.token_loss[tokens_[i]] = float(losses[i]);
  }

  rora_context& context_;
  State& state_;
  const CrossEntropyOp& op_;
  TypedWeight<T> head_;
  std::vector<int32_t> tokens_, labels_;  // of supervised tokens
  int64_t rows_ = 0;                      // of a chunk
  GemmForward<T, float> logits_;
  GemmBackward<T> gradient_;
  WeightSums<T> sums_;
  int32_t *index_ = nullptr, *device_labels_ = nullptr;
  double *losses_ = nullptr, *total_ = nullptr;
  T *x_ = nullptr, *dx_ = nullptr, *rounded_ = nullptr;
};

void cross_entropy(rora_context& context, const CrossEntropyOp& op) {
  with_type(op.x->dtype, [&](auto type) { CrossEntropyRun<decltype(type)>(context, op).run(); });
}

void sum_of_squares(rora_context& context, const SumOfSquaresOp& op) {
  *op.sum = 0;
  if (op.count == 0) return;
  SumOfSquares sum = {op.count, op.values, nullptr, nullptr};
  Workspace workspace(context);
  workspace.plan(&sum.workspace, sum_of_squares_workspace(op.count));
  workspace.plan(&sum.sum, 1);
  workspace.hand_out();
  check(cuda::sum_of_squares(state_of(context).stream, sum));
  download_bytes(context, op.sum, sum.sum, int64_t(sizeof(double)));
}

void adamw(rora_context& context, const AdamwOp& op) {
  check(cuda::adamw(
      state_of(context).stream,
      Adamw{op.step.learning_rate, op.step.beta1, op.step.beta2, op.step.epsilon,
            op.step.weight_decay, op.step.gradient_scale, nullptr, op.step.step, op.count,
            op.values, op.gradients, op.first_moments, op.second_moments, nullptr}));
}

void dora_norms(rora_context& context, const DoraNormsOp& op) {
  const rora_adapter& adapter = *op.adapter;
  with_type(op.weight->dtype, [&](auto type) {
    using T = decltype(type);
    DoraNorms<T> norms = {adapter.out_features,
                          adapter.in_features,
                          adapter.rank,
                          weight_data<T>(*op.weight),
                          op.weight->pitch,
                          adapter.lora_A,
                          adapter.in_features,
                          adapter.lora_B,
                          adapter.rank,
                          adapter.scaling,
                          adapter.magnitude,
                          adapter.base_squares,
                          op.norms,
                          op.row_scale,
                          nullptr};
    Workspace workspace(context);
    workspace.plan(&norms.workspace, dora_workspace(adapter.out_features, adapter.rank));
    workspace.hand_out();
    check(cuda::dora_norms(state_of(context).stream, norms));
  });
}

// ---- the tables ----

void memory(rora_context&, int64_t* total, int64_t* free) noexcept { memory_of(total, free); }

void close(rora_context& context) noexcept {
  State& state = state_of(context);
  for (const State::Block& block : {state.copies, state.workspace})
    if (block.data) release_memory(state.stream, block.data);
  close_stream(state.own);
  delete &state;
  context.backend = nullptr;
}

#if defined(__CUDACC__)
constexpr const char* kName = "cuda";
#else
constexpr const char* kName = "simt";
#endif

void open(rora_context& context, int32_t index) {
  auto* state = new State;
  state->index = index;
  const char* error = open_stream(index, &state->own, &state->machine);
  if (*error) {
    delete state;
    std::string message = "device \"";
    message.append(kName);
    if (index >= 0) message.append(":").append(std::to_string(index));
    message.append("\" cannot be used: ").append(error).append("; use \"cpu\"");
    fail_with(RORA_UNSUPPORTED, message);
  }
  state->stream = state->own;
  context.backend = state;
}

Device make_device() {
  Device device = {};
  device.on_host = false;
  device.row_elements = kRowElements;
  device.allocate = allocate;
  device.release = release;
  device.allocate_weight = allocate;
  device.release_weight = release_weight;
  device.upload = upload_bytes;
  device.download = download_bytes;
  device.clear = clear_bytes;
  device.copy_rows = copy_rows;
  device.lay_out = lay_out;
  device.clear_padding = clear_padding;
  device.copy_activation = copy_activation;
  device.clear_activation = clear_activation;
  device.copy_tokens = copy_tokens;
  device.memory = memory;
  device.reaches = reaches_memory;
  device.write_weight = write_weight;
  device.use_stream = use_stream;
  device.close = close;
  return device;
}

KernelTable make_kernels() {
  KernelTable table = {};
  table.name = kName;
  table.linear_shrink = linear_shrink;
  table.linear_forward = linear_forward;
  table.linear_backward = linear_backward;
  table.dora_norms = dora_norms;
  table.embedding_forward = embedding_forward;
  table.embedding_backward = embedding_backward;
  table.rmsnorm_forward = rmsnorm_forward;
  table.rmsnorm_backward = rmsnorm_backward;
  table.rope = rope;
  table.swiglu_forward = swiglu_forward;
  table.swiglu_backward = swiglu_backward;
  table.attention_forward = attention_forward;
  table.attention_backward = attention_backward;
  table.attention_cached = attention_cached;
  table.cross_entropy = cross_entropy;
  table.sum_of_squares = sum_of_squares;
  table.adamw = adamw;
  table.add = add;
  table.rows_to_panels = rows_to_panels;
  table.panels_to_rows = panels_to_rows;
  return table;
}

}  // namespace
}  // namespace rora::cuda

extern "C" __attribute__((visibility("default"))) const rora::Backend* rora_backend(
    const rora::BackendServices* services) {
  static const rora::Device device = rora::cuda::make_device();
  static const rora::KernelTable kernels = rora::cuda::make_kernels();
  static const rora::Backend backend = {rora::kBackendLayout, &device, &kernels, rora::cuda::open};
  rora::cuda::services = services;
  return &backend;
}
