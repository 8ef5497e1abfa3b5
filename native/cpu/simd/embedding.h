// Embedding rows into panels and their gradients back:  y[t] = table[ids[t]],  dtable[ids[t]] +=
// dy[t].
//
// A transpose between row-major and panels. A task owns some features of all tokens (backward:
// tokens may share a row, and are added in their order) or of one panel. Reference:
// cpu/reference/embedding.cpp.
#pragma once

#include "cpu/simd/math.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kEmbeddingRows = 64;  // features in a task

template <class Source, class Target>
static inline void embed_rows(const EmbeddingOp& op, int64_t panel, int64_t first, int64_t last) {
  const int64_t width = op.table->in_features;
  const Source* table = static_cast<const Source*>(op.table->data);
  Target* target = panel_data<Target>(*op.y, panel);
  const int active = active_lanes(op.batch->tokens, panel);
  const int lanes = op.batch->tokens <= kFewTokens ? active : kPanel;
  for (int64_t f = first; f < last; ++f)
    for (int lane = 0; lane < lanes; ++lane) {
      const bool used = f < width && lane < active;
      const int64_t id = used ? op.batch->ids[panel * kPanel + lane] : 0;
      put(target, f, lane, used ? to_float(table[id * width + f]) : 0.0f);
    }
}

static inline void embedding_forward(rora_context& context, const EmbeddingOp& op) {
  const int64_t rows = even(op.table->in_features), blocks = blocks_of(rows, kEmbeddingRows);
  parallel(*context.pool, panels(op.batch->tokens) * blocks, [&](int64_t task, int32_t) {
    const int64_t first = task % blocks * kEmbeddingRows;
    const int64_t last = min_of(rows, first + kEmbeddingRows);
    with_type(*op.y, [&](auto type) {
      using T = decltype(type);
      if (op.table->dtype == RORA_F32)
        embed_rows<float, T>(op, task / blocks, first, last);
      else
        embed_rows<uint16_t, T>(op, task / blocks, first, last);
    });
  });
}

static inline void embedding_backward(rora_context& context, const EmbeddingOp& op) {
  const int64_t width = op.table->in_features;
  context.pool->reserve(kEmbeddingRows * kPanel * int64_t(sizeof(float)));
  parallel(*context.pool, blocks_of(width, kEmbeddingRows), [&](int64_t block, int32_t thread) {
    float* dy = reinterpret_cast<float*>(context.pool->scratch(thread));
    const int64_t first = block * kEmbeddingRows, count = min_of(kEmbeddingRows, width - first);
    for (int64_t panel = 0; panel < panels(op.batch->tokens); ++panel) {
      widen_rows(*op.dy, panel, first, count, dy, kPanel);
      for (int lane = 0; lane < active_lanes(op.batch->tokens, panel); ++lane) {
        float* row = op.table->gradient + op.batch->ids[panel * kPanel + lane] * width + first;
        for (int64_t i = 0; i < count; ++i) row[i] += dy[i * kPanel + lane];
      }
    }
  });
}

}  // namespace rora::RORA_LEVEL
