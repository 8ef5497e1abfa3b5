// The CPU backend for one instruction set: compiled once for each level, with that level's flags
// and RORA_LEVEL set to its name.
#include "cpu/simd/attention_backward.h"
#include "cpu/simd/attention_cached.h"
#include "cpu/simd/convert.h"
#include "cpu/simd/dora.h"
#include "cpu/simd/embedding.h"
#include "cpu/simd/linear.h"
#include "cpu/simd/loss.h"
#include "cpu/simd/measure.h"
#include "cpu/simd/optimizer.h"
#include "cpu/simd/rmsnorm.h"
#include "cpu/simd/rope.h"
#include "cpu/simd/swiglu.h"

#define RORA_TEXT_OF(name) #name
#define RORA_TEXT(name) RORA_TEXT_OF(name)
#define RORA_JOIN_OF(a, b) a##b
#define RORA_JOIN(a, b) RORA_JOIN_OF(a, b)

namespace rora {
namespace RORA_LEVEL {

static inline void add(rora_context& context, const AddOp& op) {
  const int64_t pairs = even(op.source->width) / 2;
  parallel(*context.pool, panels(op.source->tokens), [&](int64_t panel, int32_t) {
    with_type(*op.source, [&](auto source_type) {
      with_type(*op.target, [&](auto target_type) {
        const auto* source = panel_data<decltype(source_type)>(*op.source, panel);
        auto* target = panel_data<decltype(target_type)>(*op.target, panel);
        for (int64_t pair = 0; pair < pairs; ++pair)
          for (int lane = 0; lane < kPanel; lane += kLanes) {
            const RowPair s = load_pair(source, pair, lane), t = load_pair(target, pair, lane);
            store_pair(target, pair, lane, {s.even + t.even, s.odd + t.odd});
          }
      });
    });
  });
}

constexpr KernelTable kTable = {
    .name = RORA_TEXT(RORA_LEVEL),
    .linear_shrink = linear_shrink,
    .linear_forward = linear_forward,
    .linear_backward = linear_backward,
    .dora_norms = dora_norms,
    .embedding_forward = embedding_forward,
    .embedding_backward = embedding_backward,
    .rmsnorm_forward = rmsnorm_forward,
    .rmsnorm_backward = rmsnorm_backward,
    .rope = rope,
    .swiglu_forward = swiglu_forward,
    .swiglu_backward = swiglu_backward,
    .attention_forward = attention_forward,
    .attention_backward = attention_backward,
    .attention_cached = attention_cached,
    .cross_entropy = cross_entropy,
    .sum_of_squares = sum_of_squares,
    .adamw = adamw,
    .add = add,
    .rows_to_panels = rows_to_panels,
    .panels_to_rows = panels_to_rows,
    .peak = peak,
    .stream = stream,
};

}  // namespace RORA_LEVEL

const KernelTable* RORA_JOIN(RORA_LEVEL, _kernels)() { return &RORA_LEVEL::kTable; }

}  // namespace rora
