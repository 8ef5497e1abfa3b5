// The products inside attention:  c[i, lane] (+)= sum_j a(i, j) b[j, lane]  for 64 lanes.
//
// The reduction runs over words, as in tile.h: floats, or pairs of bf16, of neighbouring features
// or of tokens t and t + 16. `b` is a head's rows of a panel or a block of scores. `a`, element
// (i, j) at data[i * row_stride + j * word_stride], is read where it lies and broadcast; packing
// it, as gemm.h does, would cost as much as the product. Matrix tiles want it packed, and are so
// fast that it pays.
#pragma once

#include "cpu/simd/gemm.h"
#include "cpu/simd/words.h"

namespace rora::RORA_LEVEL {

struct LeftFactor {
  const float* data;
  int64_t row_stride, word_stride;
};

// A head's features lie in rows of 64 tokens. Tokens as rows of the left factor, features as words:
static inline LeftFactor tokens_by_features(const float* head) { return {head, 1, kPanel}; }
// features as rows, tokens as words:
static inline LeftFactor features_by_tokens(const float* head) { return {head, kPanel, 1}; }

template <class Words, int Rows>
static inline void head_tile(LeftFactor a, int64_t words, const float* b, float* c, bool add) {
  for (int lane = 0; lane < kPanel; lane += kTileVectors * kLanes) {
    vfloat sum[Rows][kTileVectors];
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v)
        sum[i][v] = add ? load(c + i * kPanel + lane + v * kLanes) : vfloat{};
    for (int64_t j = 0; j < words; ++j) {
      vfloat bv[kTileVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) bv[v] = load(b + j * kPanel + lane + v * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < Rows; ++i) {
        const vfloat broadcast = splat(
            word_at(reinterpret_cast<const char*>(a.data + i * a.row_stride + j * a.word_stride)));
#pragma GCC unroll 8
        for (int v = 0; v < kTileVectors; ++v)
          sum[i][v] = Words::multiply_add(sum[i][v], bv[v], broadcast);
      }
    }
#pragma GCC unroll 8
    for (int i = 0; i < Rows; ++i)
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) store(c + i * kPanel + lane + v * kLanes, sum[i][v]);
  }
}

// All rows of c.
template <class Words = FloatWords>
static inline void head_product(int64_t rows, LeftFactor a, int64_t words, const float* b, float* c,
                                bool add) {
  for (; rows >= kTileRows; rows -= kTileRows) {
    head_tile<Words, kTileRows>(a, words, b, c, add);
    a.data += kTileRows * a.row_stride;
    c += kTileRows * kPanel;
  }
  switch (rows) {
    case 1:
      return head_tile<Words, 1>(a, words, b, c, add);
    case 2:
      return head_tile<Words, 2>(a, words, b, c, add);
    case 3:
      return head_tile<Words, 3>(a, words, b, c, add);
    case 4:
      return head_tile<Words, 4>(a, words, b, c, add);
    case 5:
      return head_tile<Words, 5>(a, words, b, c, add);
    default:
      return;
  }
}

// One head of one panel: [dim] rows of 64 tokens.
struct Head {
  const rora_activation* a;
  int64_t panel, row, dim;
};

// Features in whole steps of matrix tiles; what a copy of a head may take of rows.
static inline int64_t padded_dim(int64_t dim) { return round_up(dim, kStep); }

static inline const float* head_pairs(const Head& h) {
  return reinterpret_cast<const float*>(panel_data<uint16_t>(*h.a, h.panel) + h.row * kPanel);
}

// The head as floats: where it lies, or a widened copy.
static inline const float* head_floats(const Head& h, float* copy) {
  if (h.a->dtype == RORA_F32) return panel_data<float>(*h.a, h.panel) + h.row * kPanel;
  widen_rows(*h.a, h.panel, h.row, h.dim, copy, kPanel);
  return copy;
}

// The head as right factor, features as words.
static inline const float* head_right(TileKind kind, const Head& h, float* copy) {
  if (kind == TileKind::kFloats) return head_floats(h, copy);
  const float* pairs = head_pairs(h);
  if (kind == TileKind::kPairs || h.dim % kStep == 0) return pairs;
  const int64_t words = h.dim / 2 * kPanel, padded = padded_dim(h.dim) / 2 * kPanel;
  __builtin_memcpy(copy, pairs, uint64_t(words) * 4);
  __builtin_memset(copy + words, 0, uint64_t(padded - words) * 4);
  return copy;
}

// A block of scores [64 tokens][64] as right factor, tokens as words.
static inline const float* scores_right(TileKind kind, const float* scores, float* copy) {
  if (kind == TileKind::kFloats) return scores;
  for (int64_t i = 0; i < kPanel / 2; ++i) {
    const float* near = scores + (i / 16 * 32 + i % 16) * kPanel;
    for (int lane = 0; lane < kPanel; lane += kLanes)
      store_u32(copy + i * kPanel + lane,
                pair_bits({load(near + lane), load(near + 16 * kPanel + lane)}));
  }
  return copy;
}

// A head as left factor.
struct HeadLeft {
  LeftFactor factor;  // for matrix tiles: strips as amx.h has them
  int64_t rows, words;
};

// Tokens as rows, features as words.
static inline HeadLeft left_by_tokens(TileKind kind, const Head& h, float* copy) {
  if (kind == TileKind::kFloats) return {tokens_by_features(head_floats(h, copy)), kPanel, h.dim};
  if (kind == TileKind::kPairs) return {tokens_by_features(head_pairs(h)), kPanel, h.dim / 2};
  const int64_t words = padded_dim(h.dim) / 2, steps = words / 16;
  const float* pairs = head_pairs(h);
  float some[16 * kPanel];
  for (int64_t step = 0; step < steps; ++step) {
    const int64_t there = min_of(16, h.dim / 2 - step * 16);
    const float* source = pairs + step * 16 * kPanel;
    if (there < 16) {
      __builtin_memset(some, 0, sizeof some);
      __builtin_memcpy(some, source, uint64_t(there * kPanel) * 4);
      source = some;
    }
    for (int64_t token = 0; token < kPanel; token += kLanes)
      for (int64_t word = 0; word < 16; word += kLanes)
        transpose_words(source + word * kPanel + token,
                        copy + (token / kStripRows * steps + step) * (kStepBytes / 4) +
                            token % kStripRows * 16 + word,
                        16);
  }
  return {{copy, 0, 0}, kPanel, words};
}

// Features as rows, tokens as words.
static inline HeadLeft left_by_features(TileKind kind, const Head& h, float* copy) {
  if (kind == TileKind::kFloats) return {features_by_tokens(head_floats(h, copy)), h.dim, kPanel};
  const float* pairs = head_pairs(h);
  if (kind == TileKind::kPairs) {
    for (int64_t d = 0; d < h.dim; d += 2)
      for (int half = 0; half < 2; ++half)
        pair_tokens(pairs, d, half, copy + d * 32 + half * 16, copy + (d + 1) * 32 + half * 16);
    return {{copy, 32, 1}, h.dim, 32};
  }
  pack_token_pairs(pairs, h.dim, 2, 0, copy);
  return {{copy, 0, 0}, h.dim, 32};
}

// Makes zero of the tokens of a head as left_by_features has copied it that lie outside of [first,
// last]: nobody attends to them, but what they hold may not be finite, and 0 times that is not 0.
static inline void clear_tokens(TileKind kind, int64_t dim, int64_t first, int64_t last,
                                float* copy) {
  uint32_t keep_bits[kPanel / 2];
  for (int64_t i = 0; i < kPanel / 2; ++i) {
    const int64_t near = i / 16 * 32 + i % 16, far = near + 16;
    keep_bits[i] = (first <= near && near <= last ? 0xffffu : 0u) |
                   (first <= far && far <= last ? 0xffff0000u : 0u);
  }
  for (int64_t d = 0; d < dim; ++d)
    for (int64_t i = 0; i < kPanel / 2; i += kLanes) {
      float* p = kind == TileKind::kPairs
                     ? copy + d * 32 + i
                     : copy + (d / kStripRows * 2 + i / 16) * (kStepBytes / 4) +
                           d % kStripRows * 16 + i % 16;
      store_u32(p, load_u32(p) & load_u32(keep_bits + i));
    }
}

// Rows of out up to a whole strip may be written with zeros.
static inline void multiply_head(TileKind kind, const HeadLeft& left, const float* right,
                                 float* out, bool add) {
  if (kind == TileKind::kFloats)
    return head_product(left.rows, left.factor, left.words, right, out, add);
#if defined(__AVX512BF16__)
  if (kind == TileKind::kPairs)
    return head_product<PairWords>(left.rows, left.factor, left.words, right, out, add);
#endif
  const int64_t steps = left.words / 16;
  for (int64_t i = 0; i < left.rows; i += kStripRows) {
    const TileRun run = {
        reinterpret_cast<const char*>(left.factor.data) + i / kStripRows * steps * kStepBytes,
        kRowBytes,
        kStepBytes,
        reinterpret_cast<const char*>(right),
        steps,
        nullptr,
        0};
    for (int lane = 0; lane < kPanel; lane += 32)
      tile_runs(&run, 1, lane, {0, 0}, out + i * kPanel, add);
  }
}

}  // namespace rora::RORA_LEVEL
