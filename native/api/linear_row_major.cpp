// The linear operators on row-major memory: rows into panels, the same kernels, panels into rows.
#include <cmath>

#include "api/device.h"
#include "api/layer_checks.h"

namespace rora {
namespace {

using Long = long long;

constexpr int64_t kMaxRank = int64_t(1) << 24;  // so that sizes in bytes cannot overflow

// A row-major matrix of the caller's.
struct Rows {
  const char* name;
  void* data;
  rora_dtype dtype;
  int64_t rows, columns;
  const char* columns_name;
  const char* stride_name;
  int64_t stride;

  int64_t element() const { return dtype == RORA_F32 ? 4 : 2; }
  bool tight() const { return stride == columns; }
  uintptr_t begin() const { return reinterpret_cast<uintptr_t>(data); }
  // Behind the last element; the largest address if there is none such.
  uintptr_t end() const {
    if (data == nullptr || rows == 0) return begin();
    const int64_t bytes = product_or_max((rows - 1) * stride + columns, element());
    return uintptr_t(bytes) > UINTPTR_MAX - begin() ? UINTPTR_MAX : begin() + uintptr_t(bytes);
  }
};

void check_rows(rora_context& context, const Rows& m) {
  RORA_REQUIRE(m.data != nullptr, "%s is NULL: it must be given", m.name);
  RORA_REQUIRE(m.begin() % uintptr_t(m.element()) == 0,
               "%s=%p: must be aligned to its elements (%lld bytes)", m.name, m.data,
               Long(m.element()));
  RORA_REQUIRE(context.device->reaches(context, m.data),
               "%s=%p: is no address on the context's GPU; give one of device memory", m.name,
               m.data);
  RORA_REQUIRE(m.stride >= m.columns, "%s=%lld: must be at least %s (%lld)", m.stride_name,
               Long(m.stride), m.columns_name, Long(m.columns));
  RORA_REQUIRE(m.stride <= INT32_MAX, "%s=%lld: must be at most 2^31 - 1", m.stride_name,
               Long(m.stride));
}

void check_apart(const Rows& output, const Rows& other) {
  RORA_REQUIRE(output.end() <= other.begin() || other.end() <= output.begin() ||
                   output.begin() == output.end() || other.begin() == other.end(),
               "%s overlaps %s: outputs must not overlap anything else", output.name, other.name);
}

void check_type(const char* name, rora_dtype dtype) {
  RORA_REQUIRE(dtype == RORA_F32 || dtype == RORA_BF16, "%s=%d: must be RORA_F32 or RORA_BF16",
               name, int(dtype));
}

// The arguments of a call that are no matrices.
struct Call {
  rora_row_workspace* workspace;
  const rora_weight* weight;
  rora_dtype compute, dtype;
  int64_t tokens, rank;
  float scaling;

  rora_context& context() const { return *workspace->context; }
  int64_t in() const { return weight->in_features; }
  int64_t out() const { return weight->out_features; }

  void check() const {
    RORA_REQUIRE(workspace != nullptr && weight != nullptr, "workspace and weight must be given");
    require_same_context(weight->context, workspace->context, "weight");
    check_type("compute", compute);
    check_type("dtype", dtype);
    RORA_REQUIRE(tokens >= 0, "tokens=%lld: must not be negative", Long(tokens));
    RORA_REQUIRE(tokens <= INT32_MAX, "tokens=%lld: must be at most 2^31 - 1", Long(tokens));
    RORA_REQUIRE(rank >= 0, "rank=%lld: must not be negative", Long(rank));
    RORA_REQUIRE(rank <= kMaxRank, "rank=%lld: must be at most 2^24", Long(rank));
    RORA_REQUIRE(std::isfinite(scaling), "scaling=%g: must be finite", double(scaling));
  }

  // The matrices, by what they are to the layer.
  Rows of_input(const char* name, const void* data, const char* stride_name, int64_t ld) const {
    return {name, const_cast<void*>(data), dtype, tokens, in(), "in_features", stride_name, ld};
  }
  Rows of_output(const char* name, const void* data, const char* stride_name, int64_t ld) const {
    return {name, const_cast<void*>(data), dtype, tokens, out(), "out_features", stride_name, ld};
  }
  Rows like_h(const float* data, int64_t ld) const {
    return {"h", const_cast<float*>(data), RORA_F32, tokens, rank, "rank", "ldh", ld};
  }
  Rows like_a(const char* name, const float* data, const char* stride_name, int64_t ld) const {
    return {name, const_cast<float*>(data), RORA_F32, rank, in(), "in_features", stride_name, ld};
  }
  Rows like_b(const char* name, const float* data, const char* stride_name, int64_t ld) const {
    return {name, const_cast<float*>(data), RORA_F32, out(), rank, "rank", stride_name, ld};
  }
};

void* room(rora_context& context, rora_row_workspace::Block& block, int64_t bytes) {
  if (bytes > block.bytes) {
    release(&context, block.data);
    block = {nullptr, 0};
    block.data = allocate(&context, bytes);
    block.bytes = bytes;
  }
  return block.data;
}

// An activation in a block of the workspace. What the block held must not matter: what pads its
// rows becomes zero here, all else is written before it is read.
rora_activation activation_in(const Call& call, rora_row_workspace::Block& block, int64_t width,
                              int64_t tail) {
  rora_context& context = call.context();
  rora_activation a = {&context, call.compute, call.tokens, call.tokens, width, tail, 0, nullptr};
  a.data = room(context, block, context.device->lay_out(a));
  context.device->clear_padding(context, a);
  return a;
}

void into_panels(const Rows& source, rora_activation& a, int64_t row) {
  a.context->kernels->rows_to_panels(
      *a.context, RowsOp{&a, row, source.columns, 0, a.tokens, source.data, source.dtype,
                         source.stride, false});
}

void into_rows(rora_activation& a, int64_t row, const Rows& target, bool add) {
  a.context->kernels->panels_to_rows(
      *a.context,
      RowsOp{&a, row, target.columns, 0, a.tokens, target.data, target.dtype, target.stride, add});
}

// The caller's matrix where the kernels want it tight: in its own place, or a copy behind `next`.
struct Tight {
  Rows original;
  float* data;

  Tight(const Rows& rows, float** next) : original(rows), data(static_cast<float*>(rows.data)) {
    if (rows.data == nullptr || rows.tight()) return;
    data = *next;
    *next += rows.rows * rows.columns;
  }
  static int64_t floats(const Rows& m) {
    return m.data == nullptr || m.tight() ? 0 : m.rows * m.columns;
  }

  bool copied() const { return data != original.data; }
  void fetch(rora_context& context) const {
    if (copied())
      context.device->copy_rows(context, static_cast<const float*>(original.data), original.stride,
                                data, original.columns, original.rows, original.columns);
  }
  void bring_back(rora_context& context) const {
    if (copied())
      context.device->copy_rows(context, data, original.columns, static_cast<float*>(original.data),
                                original.stride, original.rows, original.columns);
  }
  void clear(rora_context& context) const {
    context.device->clear(context, data, original.rows * original.columns * 4);
  }
};

// The layer as a group of one projection; without a rank it has no adapter.
struct Layer {
  rora_adapter adapter{};
  rora_linear linear{};

  Layer(const Call& call, const float* lora_A, const float* lora_B, float* dA, float* dB) {
    adapter.context = linear.context = &call.context();
    adapter.out_features = call.out(), adapter.in_features = call.in();
    adapter.rank = adapter.train_rank = call.rank;
    adapter.scaling = call.scaling;
    adapter.lora_A = lora_A, adapter.lora_B = lora_B;
    adapter.lora_A_gradient = dA, adapter.lora_B_gradient = dB;
    linear.projections = 1;
    linear.projection[0] = {call.weight, nullptr, nullptr, call.rank > 0 ? &adapter : nullptr};
  }
  Layer(const Layer&) = delete;
};

void forward(const Call& call, const Rows& x, const Rows& a, const Rows& b, const Rows& h,
             const Rows& y) {
  const bool adapts = call.rank > 0;
  rora_context& context = call.context();
  check_rows(context, x);
  if (adapts)
    for (const Rows* each : {&a, &b, &h}) check_rows(context, *each);
  check_rows(context, y);
  if (adapts) check_apart(h, y);
  for (const Rows* output : {&h, &y}) {
    if (output == &h && !adapts) continue;
    check_apart(*output, x);
    if (adapts) check_apart(*output, a), check_apart(*output, b);
  }
  if (call.tokens == 0) return;
  rora_row_workspace& workspace = *call.workspace;
  auto* next = static_cast<float*>(
      room(context, workspace.adapter, adapts ? (Tight::floats(a) + Tight::floats(b)) * 4 : 0));
  const Tight lora_A(a, &next), lora_B(b, &next);
  rora_activation input = activation_in(call, workspace.x, call.in(), call.rank);
  rora_activation output = activation_in(call, workspace.y, call.out(), 0);
  if (adapts) lora_A.fetch(context), lora_B.fetch(context);
  const Layer layer(call, lora_A.data, lora_B.data, nullptr, nullptr);
  into_panels(x, input, 0);
  LinearOp op{};
  op.linear = &layer.linear, op.x = &input, op.y = &output;
  context.kernels->linear_forward(context, op);
  into_rows(output, 0, y, false);
  if (adapts) into_rows(input, even(call.in()), h, false);
}

void check_backward(const Call& call, bool trains, const Rows* inputs, const Rows& dA,
                    const Rows& dB, const Rows& dx) {
  // x, h, dy, lora_A, lora_B: the first two are read for dA and dB alone.
  const bool used[] = {trains, trains, true, call.rank > 0, call.rank > 0};
  const Rows* outputs[] = {&dA, &dB, &dx};
  const bool wanted[] = {trains, trains, dx.data != nullptr};
  for (int i = 0; i < 5; ++i)
    if (used[i]) check_rows(call.context(), inputs[i]);
  for (int o = 0; o < 3; ++o) {
    if (!wanted[o]) continue;
    check_rows(call.context(), *outputs[o]);
    for (int i = 0; i < 5; ++i)
      if (used[i]) check_apart(*outputs[o], inputs[i]);
    for (int other = 0; other < o; ++other)
      if (wanted[other]) check_apart(*outputs[o], *outputs[other]);
  }
}

void backward(const Call& call, const Rows& x, const Rows& a, const Rows& b, const Rows& h,
              const Rows& dy, int32_t sums, const Rows& dA, const Rows& dB, const Rows& dx) {
  RORA_REQUIRE(sums >= 0 && sums <= (RORA_ADD_TO_ADAPTER | RORA_ADD_TO_INPUT),
               "sums=%d: must be RORA_OVERWRITE, RORA_ADD_TO_ADAPTER, RORA_ADD_TO_INPUT or both",
               sums);
  const bool adapts = call.rank > 0;
  RORA_REQUIRE(!adapts || (dA.data == nullptr) == (dB.data == nullptr),
               "dA and dB must be both given or both NULL");
  RORA_REQUIRE(call.weight->gradient == nullptr,
               "the weight is trained (rora_weight_train): rows give gradients of x, A and B only");
  const bool trains = adapts && dA.data != nullptr;
  const Rows inputs[] = {x, h, dy, a, b};
  check_backward(call, trains, inputs, dA, dB, dx);

  rora_context& context = call.context();
  rora_row_workspace& workspace = *call.workspace;
  int64_t floats = 0;
  if (adapts)
    for (const Rows* each : {&a, &b, &dA, &dB}) floats += Tight::floats(*each);
  auto* next = static_cast<float*>(room(context, workspace.adapter, floats * 4));
  const Tight lora_A(a, &next), lora_B(b, &next), a_gradient(dA, &next), b_gradient(dB, &next);
  if (adapts && call.tokens > 0) lora_A.fetch(context), lora_B.fetch(context);
  for (const Tight* gradient : {&a_gradient, &b_gradient}) {
    if (!trains) break;
    if (sums & RORA_ADD_TO_ADAPTER)
      gradient->fetch(context);
    else
      gradient->clear(context);
  }
  if (call.tokens > 0) {
    const Layer layer(call, lora_A.data, lora_B.data, trains ? a_gradient.data : nullptr,
                      trains ? b_gradient.data : nullptr);
    rora_activation gradient = activation_in(call, workspace.y, call.out(), call.rank);
    into_panels(dy, gradient, 0);
    LinearOp op{};
    op.linear = &layer.linear, op.dy = &gradient;
    rora_activation input{}, input_gradient{};
    if (trains) {
      input = activation_in(call, workspace.x, call.in(), call.rank);
      into_panels(x, input, 0);
      into_panels(h, input, even(call.in()));
      op.x = &input;
    }
    if (dx.data != nullptr) {
      input_gradient = activation_in(call, workspace.dx, call.in(), 0);
      op.dx = &input_gradient;
    }
    context.kernels->linear_backward(context, op);
    if (dx.data != nullptr) into_rows(input_gradient, 0, dx, sums & RORA_ADD_TO_INPUT);
  }
  if (trains) a_gradient.bring_back(context), b_gradient.bring_back(context);
}

void destroy_blocks(rora_row_workspace& workspace) {
  for (void* data : {workspace.x.data, workspace.y.data, workspace.dx.data, workspace.adapter.data})
    release(workspace.context, data);
}

// The workspace of one call.
struct OwnWorkspace {
  rora_row_workspace blocks;

  explicit OwnWorkspace(rora_context* context) : blocks{context, {}, {}, {}, {}} {}
  ~OwnWorkspace() { destroy_blocks(blocks); }
  OwnWorkspace(const OwnWorkspace&) = delete;
};

void check_own(rora_context* context, const rora_weight* weight, int64_t rank) {
  RORA_REQUIRE(context != nullptr && weight != nullptr, "context and weight must not be NULL");
  RORA_REQUIRE(rank >= 1, "rank=%lld: must be at least 1", Long(rank));
}

}  // namespace
}  // namespace rora

using namespace rora;

rora_status rora_row_workspace_create(rora_context* context, rora_row_workspace** workspace) {
  return guard([&] {
    RORA_REQUIRE(context != nullptr && workspace != nullptr,
                 "context and workspace must not be NULL");
    *workspace = new rora_row_workspace{context, {}, {}, {}, {}};
  });
}

void rora_row_workspace_destroy(rora_row_workspace* workspace) {
  if (workspace == nullptr) return;
  destroy_blocks(*workspace);
  delete workspace;
}

rora_status rora_linear_forward_rows(rora_row_workspace* workspace, const rora_weight* weight,
                                     rora_dtype compute, int64_t tokens, int64_t rank,
                                     float scaling, rora_dtype dtype, const void* x, int64_t ldx,
                                     const float* lora_A, int64_t lda, const float* lora_B,
                                     int64_t ldb, float* h, int64_t ldh, void* y, int64_t ldy) {
  return guard([&] {
    const Call call{workspace, weight, compute, dtype, tokens, rank, scaling};
    call.check();
    forward(call, call.of_input("x", x, "ldx", ldx), call.like_a("lora_A", lora_A, "lda", lda),
            call.like_b("lora_B", lora_B, "ldb", ldb), call.like_h(h, ldh),
            call.of_output("y", y, "ldy", ldy));
  });
}

rora_status rora_linear_backward_rows(rora_row_workspace* workspace, const rora_weight* weight,
                                      rora_dtype compute, int64_t tokens, int64_t rank,
                                      float scaling, rora_dtype dtype, const void* x, int64_t ldx,
                                      const float* lora_A, int64_t lda, const float* lora_B,
                                      int64_t ldb, const float* h, int64_t ldh, const void* dy,
                                      int64_t lddy, int32_t sums, float* dA, int64_t ldda,
                                      float* dB, int64_t lddb, void* dx, int64_t lddx) {
  return guard([&] {
    const Call call{workspace, weight, compute, dtype, tokens, rank, scaling};
    call.check();
    backward(call, call.of_input("x", x, "ldx", ldx), call.like_a("lora_A", lora_A, "lda", lda),
             call.like_b("lora_B", lora_B, "ldb", ldb), call.like_h(h, ldh),
             call.of_output("dy", dy, "lddy", lddy), sums, call.like_a("dA", dA, "ldda", ldda),
             call.like_b("dB", dB, "lddb", lddb), call.of_input("dx", dx, "lddx", lddx));
  });
}

rora_status rora_linear_forward_f32(rora_context* context, const rora_weight* weight,
                                    int64_t tokens, int64_t rank, float scaling, const float* x,
                                    int64_t ldx, const float* lora_A, int64_t lda,
                                    const float* lora_B, int64_t ldb, float* h, int64_t ldh,
                                    float* y, int64_t ldy) {
  return guard([&] {
    check_own(context, weight, rank);
    OwnWorkspace own(context);
    const Call call{&own.blocks, weight, RORA_F32, RORA_F32, tokens, rank, scaling};
    call.check();
    forward(call, call.of_input("x", x, "ldx", ldx), call.like_a("lora_A", lora_A, "lda", lda),
            call.like_b("lora_B", lora_B, "ldb", ldb), call.like_h(h, ldh),
            call.of_output("y", y, "ldy", ldy));
  });
}

rora_status rora_linear_backward_f32(rora_context* context, const rora_weight* weight,
                                     int64_t tokens, int64_t rank, float scaling, const float* x,
                                     int64_t ldx, const float* lora_A, int64_t lda,
                                     const float* lora_B, int64_t ldb, const float* h, int64_t ldh,
                                     const float* dy, int64_t lddy, float* dA, int64_t ldda,
                                     float* dB, int64_t lddb, float* dx, int64_t lddx) {
  return guard([&] {
    check_own(context, weight, rank);
    RORA_REQUIRE(dA != nullptr, "dA is NULL: it must be given");
    RORA_REQUIRE(dB != nullptr, "dB is NULL: it must be given");
    OwnWorkspace own(context);
    const Call call{&own.blocks, weight, RORA_F32, RORA_F32, tokens, rank, scaling};
    call.check();
    backward(call, call.of_input("x", x, "ldx", ldx), call.like_a("lora_A", lora_A, "lda", lda),
             call.like_b("lora_B", lora_B, "ldb", ldb), call.like_h(h, ldh),
             call.of_output("dy", dy, "lddy", lddy), RORA_OVERWRITE,
             call.like_a("dA", dA, "ldda", ldda), call.like_b("dB", dB, "lddb", lddb),
             call.of_input("dx", dx, "lddx", lddx));
  });
}
