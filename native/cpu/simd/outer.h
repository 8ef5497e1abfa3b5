// Sums over tokens: the gradients of weights and adapters.
//
//   out[i, j] += left_scale[i] * sum_t left[i, t] right[j, t]
//
// The tiles of the panel GEMM again, with tokens as the reduction:
//
//         right: [tokens][64 j]      The side with fewer rows is transposed, 64 of its rows at a
//          +-----------------+       time, and plays the panel; a task takes 192 rows of the other
//   left   | sums, 192 x 64  |       one. Floats of that one are read where they lie; bf16 pairs,
//  [192 i] |                 |       which are pairs of features, become pairs of tokens t and
// [tokens] +-----------------+       t + 16, so that no shuffle is needed.
//
// Traffic: the larger side once for each 64 rows of the smaller one, which is once at ranks up to
// 64. Reference: cpu/reference/linear.cpp.
#pragma once

#include "cpu/simd/gemm.h"
#include "cpu/simd/words.h"

namespace rora::RORA_LEVEL {

struct OuterJob {
  const rora_activation* left;
  int64_t left_row, left_count;  // left_row is even, as right_row
  const float* left_scale;       // [left_count] or NULL
  const rora_activation* right;
  int64_t right_row, right_count;
  int64_t right_stream;  // dropout stream of right, or -1
  float* out;
  int64_t out_stride;
};

constexpr int64_t kOuterPanels = 16;  // whose tokens are packed together
constexpr int64_t kOuterRows = 192;   // of the larger side in a task: whole strips of both kinds

// One of the two factors.
struct OuterSide {
  const rora_activation* a;
  int64_t row, count, stream;
};

struct OuterScratch {
  float* panel;   // [kOuterPanels][64 words][64] of the smaller side
  float* strips;  // [kOuterRows][kOuterPanels][32 words] of the larger one
  float* sums;    // [kOuterRows][64]
  float* copy;    // [kOuterRows][64] masked or widened
  float* words;   // [64][64]
  float* mask;    // [kMaskRows][64]
};

constexpr int64_t kOuterPanelWords = kOuterPanels * kPanel * kPanel;
constexpr int64_t kOuterStripWords = kOuterRows * kOuterPanels * kPanel / 2;
constexpr int64_t kOuterSumWords = kOuterRows * kPanel;
constexpr int64_t kOuterScratchBytes =
    (kOuterPanelWords + kOuterStripWords + 2 * kOuterSumWords + kPanel * kPanel + kMaskWords) * 4;

static inline OuterScratch outer_scratch(char* memory) {
  OuterScratch s = {};
  s.panel = reinterpret_cast<float*>(memory);
  s.strips = s.panel + kOuterPanelWords;
  s.sums = s.strips + kOuterStripWords;
  s.copy = s.sums + kOuterSumWords;
  s.words = s.copy + kOuterSumWords;
  s.mask = s.words + kPanel * kPanel;
  return s;
}

// Rows [first, first + count) of a side in one panel, as floats or bf16 pairs: where they lie, or a
// copy.
static inline const float* side_rows(const OuterSide& side, TileKind kind, int64_t first,
                                     int64_t count, int64_t panel, const Dropout* dropout,
                                     const OuterScratch& scratch) {
  const Segment segment = {side.a, side.row, side.count, {}, side.stream};
  const Piece piece = {&segment, first, count, 0, nullptr, false};
  return operand(piece, kind, panel, dropout, {nullptr, nullptr, scratch.copy, scratch.mask});
}

// One panel of the smaller side: target[word * 64 + j], zero from j = count on to where the
// vectors or tiles that read it end.
static inline void pack_outer_panel(TileKind kind, const float* rows, int64_t count, float* words,
                                    float* target) {
  int64_t length = kPanel;
  if (kind != TileKind::kFloats) {
    length = kPanel / 2;
    for (int64_t j = 0; j < even(count); j += 2)
      for (int half = 0; half < 2; ++half)
        pair_tokens(rows, j, half, words + j * kPanel + half * 16,
                    words + (j + 1) * kPanel + half * 16);
    rows = words;
  }
  const int64_t read = round_up(count, count <= 2 * kLanes ? 2 * kLanes : kTileVectors * kLanes);
  for (int64_t j = 0; j < read; j += kLanes) {
    const bool whole = j + kLanes <= count;
    if (!whole && rows != words && j < count) {
      __builtin_memcpy(words + j * kPanel, rows + j * kPanel, uint64_t((count - j) * kPanel) * 4);
      rows = words;
    }
    if (!whole)
      for (int64_t i = max_of(j, count); i < j + kLanes; ++i)
        for (int64_t w = 0; w < length; ++w) words[i * kPanel + w] = 0.0f;
    for (int64_t w = 0; w < length; w += kLanes)
      transpose_words((whole ? rows : words) + j * kPanel + w, target + w * kPanel + j, kPanel);
  }
}

// sums += tile after tile over one panel, strips of six rows; fetches those `next` words further
// on, which the next call reads.
static inline void add_outer_strips(TileKind kind, const float* rows, int64_t count,
                                    const float* panel, int64_t columns, int64_t next,
                                    const OuterScratch& scratch, bool add) {
  Strip strip = {reinterpret_cast<const char*>(rows), kPanel * 4};
  if (kind == TileKind::kPairs) {
    for (int64_t i = 0; i < even(count); i += 2)
      for (int half = 0; half < 2; ++half)
        pair_tokens(rows, i, half, scratch.strips + i * 32 + half * 16,
                    scratch.strips + (i + 1) * 32 + half * 16);
    strip = {reinterpret_cast<const char*>(scratch.strips), kPanel * 2};
  }
  for (int64_t i = 0; i < count; i += kTileRows) {
    if (i + kTileRows > count && kind == TileKind::kFloats) {
      // The last rows, filled up: those behind them may belong to nobody.
      __builtin_memcpy(scratch.strips, strip.data, uint64_t((count - i) * kPanel) * 4);
      for (int64_t w = (count - i) * kPanel; w < kTileRows * kPanel; ++w) scratch.strips[w] = 0.0f;
      strip.data = reinterpret_cast<const char*>(scratch.strips);
    }
    for (int64_t w = 0; w < kTileRows * kPanel; w += 16)
      __builtin_prefetch(rows + next + i * kPanel + w, 0, 2);
    float* sums = scratch.sums + i * kPanel;
#if defined(__AVX512BF16__)
    if (kind == TileKind::kPairs)
      tile<PairWords>(kPanel / 2, strip, panel, panel, sums, add, columns);
    else
#endif
      tile<FloatWords>(kPanel, strip, panel, panel, sums, add, columns);
    strip.data += kTileRows * strip.row_bytes;
  }
}

static inline void add_outer_tiles(int64_t count, int64_t right_count, int64_t steps,
                                   const OuterScratch& scratch, bool add) {
  const TileSession session(true);
  for (int64_t i = 0; i < count; i += kStripRows) {
    const TileRun run = {
        reinterpret_cast<const char*>(scratch.strips) + i / kStripRows * steps * kStepBytes,
        kRowBytes,
        kStepBytes,
        reinterpret_cast<const char*>(scratch.panel),
        steps,
        nullptr,
        0};
    for (int lane = 0; lane < kPanel && lane < right_count; lane += 32)
      tile_runs(&run, 1, lane, {0, 0}, scratch.sums + i * kPanel, add);
  }
}

// Sums of rows [i, i + rows) of the larger side with rows [j, j + columns) of the smaller one.
static inline void outer_sums(TileKind kind, const OuterSide& large, int64_t i, int64_t rows,
                              const OuterSide& small, int64_t j, int64_t columns, int64_t all,
                              const Dropout* dropout, const OuterScratch& scratch) {
  const int64_t panel_words = kind == TileKind::kFloats ? kPanel * kPanel : kPanel * kPanel / 2;
  for (int64_t first = 0; first < all; first += kOuterPanels) {
    const int64_t last = min_of(all, first + kOuterPanels), steps = 2 * (last - first);
    for (int64_t p = first; p < last; ++p)
      pack_outer_panel(kind, side_rows(small, kind, j, columns, p, dropout, scratch), columns,
                       scratch.words, scratch.panel + (p - first) * panel_words);
    for (int64_t p = first; p < last; ++p) {
      const float* source = side_rows(large, kind, i, rows, p, dropout, scratch);
      const int64_t next = source == scratch.copy ? 0 : words_to_next_panel(*large.a);
      if (kind == TileKind::kTiles)
        pack_token_pairs(source, rows, steps, 2 * (p - first), scratch.strips);
      else
        add_outer_strips(kind, source, rows, scratch.panel + (p - first) * panel_words, columns,
                         next, scratch, p > 0);
    }
    if (kind == TileKind::kTiles) add_outer_tiles(rows, columns, steps, scratch, first > 0);
  }
}

static inline bool swaps(const OuterJob& job) { return job.left_count < job.right_count; }

static inline void run_outer_block(const OuterJob& job, int64_t i, int64_t j, int64_t all,
                                   const Dropout* dropout, const OuterScratch& scratch) {
  const OuterSide left = {job.left, job.left_row, job.left_count, -1};
  const OuterSide right = {job.right, job.right_row, job.right_count, job.right_stream};
  const OuterSide &large = swaps(job) ? right : left, &small = swaps(job) ? left : right;
  const int64_t rows = min_of(kOuterRows, large.count - i),
                columns = min_of(kPanel, small.count - j);
  outer_sums(tile_kind(job.left->dtype), large, i, rows, small, j, columns, all, dropout, scratch);
  const int64_t out_rows = swaps(job) ? columns : rows, out_columns = swaps(job) ? rows : columns;
  const int64_t out_row = swaps(job) ? j : i, out_column = swaps(job) ? i : j;
  const int64_t row_step = swaps(job) ? 1 : kPanel, column_step = swaps(job) ? kPanel : 1;
  for (int64_t r = 0; r < out_rows; ++r) {
    const float scale = job.left_scale ? job.left_scale[out_row + r] : 1.0f;
    float* out = job.out + (out_row + r) * job.out_stride + out_column;
    for (int64_t c = 0; c < out_columns; ++c)
      out[c] += scale * scratch.sums[r * row_step + c * column_step];
  }
}

// Runs independent jobs over `tokens` tokens. One of the two sides is a gradient, whose tokens past
// the last are zero.
static inline void run_outer(rora_context& context, const OuterJob* jobs, int count, int64_t tokens,
                             const Dropout* dropout) {
  const int64_t all = panels(tokens);
  if (all == 0 || count == 0) return;
  const auto large_blocks = [](const OuterJob& job) {
    return blocks_of(max_of(job.left_count, job.right_count), kOuterRows);
  };
  int64_t start[2 * kMaxJobs + 1] = {};
  for (int j = 0; j < count; ++j)
    start[j + 1] =
        start[j] +
        large_blocks(jobs[j]) * blocks_of(min_of(jobs[j].left_count, jobs[j].right_count), kPanel);
  context.pool->reserve(kOuterScratchBytes);
  parallel(*context.pool, start[count], [&](int64_t task, int32_t thread) {
    int j = 0;
    while (task >= start[j + 1]) ++j;
    const int64_t at = task - start[j], blocks = large_blocks(jobs[j]);
    run_outer_block(jobs[j], at % blocks * kOuterRows, at / blocks * kPanel, all, dropout,
                    outer_scratch(context.pool->scratch(thread)));
  });
}

}  // namespace rora::RORA_LEVEL
