// Left factors of the panel GEMM and their packing, a block of rows by a stretch of k at a time,
// into what the tiles read (tile.h, amx.h).
//
// A line is what lies side by side in memory: a row of the factor, or, if it is transposed, a
// column. Lines are widened, scaled or rounded as a whole, only where they have to be. Rows stay
// rows: a factor that needs none of that is read where it lies. Columns are cut into strips of six,
// or, for matrix tiles, transposed in registers.
#pragma once

#include "cpu/simd/amx.h"
#include "cpu/simd/tile.h"

namespace rora::RORA_LEVEL {

// How a product is computed: floats, pairs of bf16 in vectors, or matrix tiles.
enum class TileKind { kFloats, kPairs, kTiles };

#if defined(__AVX512BF16__)
constexpr bool kDotsPairs = true;
#else
constexpr bool kDotsPairs = false;
#endif

static inline TileKind tile_kind(rora_dtype activations) {
  if (activations == RORA_F32 || !kDotsPairs) return TileKind::kFloats;
  return kHasTiles ? TileKind::kTiles : TileKind::kPairs;
}

struct Geometry {
  int64_t strip_rows;     // a tile's; a block is whole strips
  int64_t piece_columns;  // of k that one sweep over a panel takes at most
  int64_t align;          // of pieces
};

// Rows packed together at most: many for each byte of X that comes from L3.
constexpr int64_t kBlockRows = 192;
constexpr int64_t kPieceWords = 640;

// Pieces: X's share of one is 160 KB for strips, which L2 holds beside the packed block, and half
// of a panel's 18 KB for tiles, which L1 holds. Shorter ones load and store the sums too often.
static inline Geometry geometry(TileKind kind) {
  switch (kind) {
    case TileKind::kFloats:
      return {kTileRows, kPieceWords, 4};
    case TileKind::kPairs:
      return {kTileRows, 2 * kPieceWords, 8};
    default:
      return {kStripRows, 288, kStep};
  }
}

// A matrix as the left factor: element (n, k) is data[n * stride + k], or data[k * stride + n] if
// transposed, times (n_scale[n] - scale_offset) or (k_scale[k] - scale_offset) where given.
struct Matrix {
  const void* data;
  rora_dtype dtype;
  int64_t stride;
  bool transposed;
  const float* n_scale;
  const float* k_scale;
  float scale_offset;
};

static inline Matrix weight_rows(const rora_weight& w) {
  return {w.data, w.dtype, w.in_features, false, nullptr, nullptr, 0.0f};
}
static inline Matrix weight_columns(const rora_weight& w) {
  return {w.data, w.dtype, w.in_features, true, nullptr, nullptr, 0.0f};
}
static inline Matrix float_matrix(const float* data, int64_t stride, bool transposed) {
  return {data, RORA_F32, stride, transposed, nullptr, nullptr, 0.0f};
}

static inline float widen(float value) { return value; }
static inline float widen(uint16_t bits) { return bf16_to_float(bits); }

static inline bool is_scaled(const Matrix& m) { return m.n_scale || m.k_scale; }

// Elements [first, first + count) of a line, with their scales.
template <class T>
static inline void widen_line(const Matrix& m, int64_t line, int64_t first, int64_t count,
                              float* target) {
  const T* source = static_cast<const T*>(m.data) + line * m.stride + first;
  for (int64_t i = 0; i < count; ++i) target[i] = widen(source[i]);
  const float* along = m.transposed ? m.n_scale : m.k_scale;
  const float* across = m.transposed ? m.k_scale : m.n_scale;
  if (across) {
    const float factor = across[line] - m.scale_offset;
    for (int64_t i = 0; i < count; ++i) target[i] *= factor;
  }
  if (along)
    for (int64_t i = 0; i < count; ++i) target[i] *= along[first + i] - m.scale_offset;
}

constexpr int64_t kMaxLine = 2 * kPieceWords;  // elements of a line asked for at once
static_assert(kMaxLine >= kBlockRows, "a line is a piece's columns or a block's rows");

// The same as floats or bf16: where they lie if they are that already, else in `copy`.
static inline const float* float_line(const Matrix& m, int64_t line, int64_t first, int64_t count,
                                      float* copy) {
  if (m.dtype == RORA_F32 && !is_scaled(m))
    return static_cast<const float*>(m.data) + line * m.stride + first;
  if (m.dtype == RORA_F32)
    widen_line<float>(m, line, first, count, copy);
  else
    widen_line<uint16_t>(m, line, first, count, copy);
  return copy;
}
static inline const uint16_t* bf16_line(const Matrix& m, int64_t line, int64_t first, int64_t count,
                                        uint16_t* copy) {
  if (m.dtype == RORA_BF16 && !is_scaled(m))
    return static_cast<const uint16_t*>(m.data) + line * m.stride + first;
  float wide[kMaxLine];
  const float* source = float_line(m, line, first, count, wide);
  for (int64_t i = 0; i < count; ++i) copy[i] = float_to_bf16(source[i]);
  return copy;
}

// Rows [n, n + rows), columns [k, k + count) of a factor: what is packed at once, for so many
// panels.
struct Block {
  const Matrix& m;
  int64_t n, rows, k, count, panels;
};

// Whether full strips of the block are read where they lie. Matrix tiles like them packed, where
// the lines of a tile are neighbours, but that pays only if more than four panels read them.
static inline bool in_place(TileKind kind, const Block& b) {
  if (b.m.transposed || is_scaled(b.m)) return false;
  if (kind == TileKind::kFloats) return b.m.dtype == RORA_F32;
  if (b.m.dtype != RORA_BF16) return false;
  return kind == TileKind::kPairs ? b.count % 2 == 0 : b.panels <= 4 && b.count % kStep == 0;
}

// Words that a row of `count` columns takes.
static inline int64_t words_of(TileKind kind, int64_t count) {
  if (kind == TileKind::kFloats) return count;
  return kind == TileKind::kPairs ? (count + 1) / 2 : round_up(count, kStep) / 2;
}

// Rows as they are, [rows of a strip][words]; missing ones are zero.
static inline void pack_rows(TileKind kind, const Block& b, int64_t words, float* packed) {
  const bool skip_full_strips = in_place(kind, b);
  for (int64_t i = 0; i < round_up(b.rows, kTileRows); ++i, packed += words) {
    if (skip_full_strips && i < b.rows / kTileRows * kTileRows) continue;
    if (i >= b.rows) {
      for (int64_t j = 0; j < words; ++j) packed[j] = 0.0f;
    } else if (kind == TileKind::kFloats) {
      const float* line = float_line(b.m, b.n + i, b.k, b.count, packed);
      if (line != packed) __builtin_memcpy(packed, line, uint64_t(b.count) * 4);
    } else {
      uint16_t* target = reinterpret_cast<uint16_t*>(packed);
      const uint16_t* line = bf16_line(b.m, b.n + i, b.k, b.count, target);
      if (line != target) __builtin_memcpy(target, line, uint64_t(b.count) * 2);
      if (b.count % 2 != 0) target[b.count] = 0;
    }
  }
}

// How many columns are packed together: their lines share sets of L1 where the stride is a power of
// two.
constexpr int64_t kPackLines = 8;

// Cuts words [j, j + count) of all rows into strips [words][6]: lines[i] has word j + i of all rows
// side by side, and two more words.
static inline void deal_out(const float* const* lines, int64_t count, int64_t strips, int64_t j,
                            int64_t words, float* packed) {
  for (int64_t s = 0; s < strips; ++s) {
    float* target = packed + (s * words + j) * kTileRows;
    // Eight words are one or two stores; the two too many are overwritten by the next word.
    for (int64_t i = 0; i + 1 < count; ++i)
      __builtin_memcpy(target + i * kTileRows, lines[i] + s * kTileRows, 32);
    __builtin_memcpy(target + (count - 1) * kTileRows, lines[count - 1] + s * kTileRows,
                     kTileRows * 4);
  }
}

// Columns: strips [words][6], interleaved.
static inline void pack_columns(TileKind kind, const Block& b, int64_t words, float* packed) {
  const int64_t strips = blocks_of(b.rows, kTileRows), all = strips * kTileRows;
  float rows[kPackLines][kBlockRows + 8] = {};
  uint16_t copy[2][kBlockRows];
  const float* lines[kPackLines];
  for (int64_t j = 0; j < words; j += kPackLines) {
    const int64_t count = min_of(kPackLines, words - j);
    for (int64_t i = 0; i < count; ++i) {
      float* row = rows[i];
      lines[i] = row;
      if (kind == TileKind::kFloats) {
        const float* line = float_line(b.m, b.k + j + i, b.n, b.rows, row);
        // Behind the last row of the matrix there may be no two words more.
        const bool lies = b.rows == all && b.n + b.rows + 2 <= b.m.stride;
        if (line != row && lies) lines[i] = line;
        if (line != row && !lies) __builtin_memcpy(row, line, uint64_t(b.rows) * 4);
      } else {
        const int64_t k = 2 * (j + i);
        const uint16_t* low = bf16_line(b.m, b.k + k, b.n, b.rows, copy[0]);
        const bool both = k + 1 < b.count;
        const uint16_t* high = both ? bf16_line(b.m, b.k + k + 1, b.n, b.rows, copy[1]) : low;
        const uint32_t mask = both ? 0xffff0000u : 0u;
        for (int64_t n = 0; n < b.rows; ++n) {
          const uint32_t word = uint32_t(low[n]) | (uint32_t(high[n]) << 16 & mask);
          __builtin_memcpy(row + n, &word, 4);
        }
      }
    }
    deal_out(lines, count, strips, j, words, packed);
  }
}

// Rows for matrix tiles: strips [steps][32 rows][32 k], zero where there is nothing.
static inline void pack_tile_rows(const Block& b, int64_t words, uint16_t* packed) {
  const int64_t strip = kStripRows * words * 2;
  uint16_t copy[kMaxLine];
  const int64_t first = in_place(TileKind::kTiles, b) ? b.rows / kStripRows * kStripRows : 0;
  for (int64_t i = first; i < round_up(b.rows, kStripRows); ++i) {
    uint16_t* target = packed + i / kStripRows * strip + i % kStripRows * kStep;
    const uint16_t* line = i < b.rows ? bf16_line(b.m, b.n + i, b.k, b.count, copy) : nullptr;
    for (int64_t k = 0; k < 2 * words; k += kStep, target += kStripRows * kStep) {
      const int64_t there = line ? min_of(kStep, b.count - k) : 0;
      if (there == kStep) {
        __builtin_memcpy(target, line + k, kStep * 2);
        continue;
      }
      for (int64_t j = 0; j < kStep; ++j) target[j] = j < there ? line[k + j] : uint16_t(0);
    }
  }
}

// Columns for matrix tiles, the same strips.
static inline void pack_tile_columns(const Block& b, int64_t words, uint16_t* packed) {
  const int64_t strip = kStripRows * words * 2, all = round_up(b.rows, kStripRows);
  const bool direct = b.m.dtype == RORA_BF16 && !is_scaled(b.m) && b.rows == all;
  uint16_t copy[kStep * kBlockRows];
  for (int64_t k = 0; k < 2 * words; k += kStep) {
    const uint16_t* source = copy;
    int64_t stride = kBlockRows;
    if (direct && k + kStep <= b.count) {
      source = static_cast<const uint16_t*>(b.m.data) + (b.k + k) * b.m.stride + b.n;
      stride = b.m.stride;
    } else {
      for (int64_t j = 0; j < kStep; ++j) {
        uint16_t* row = copy + j * kBlockRows;
        const bool there = k + j < b.count;
        const uint16_t* line = there ? bf16_line(b.m, b.k + k + j, b.n, b.rows, row) : nullptr;
        if (there && line != row) __builtin_memcpy(row, line, uint64_t(b.rows) * 2);
        for (int64_t i = there ? b.rows : 0; i < all; ++i) row[i] = 0;
      }
    }
    for (int64_t i = 0; i < all; i += kStripRows)
      transpose_32(source + i, stride, packed + i / kStripRows * strip + k * kStripRows);
  }
}

// Packs round_up(rows, strip) rows of `words` words.
static inline void pack_block(TileKind kind, const Block& b, int64_t words, float* packed) {
  if (kind == TileKind::kTiles && b.m.transposed)
    pack_tile_columns(b, words, reinterpret_cast<uint16_t*>(packed));
  else if (kind == TileKind::kTiles)
    pack_tile_rows(b, words, reinterpret_cast<uint16_t*>(packed));
  else if (b.m.transposed)
    pack_columns(kind, b, words, packed);
  else
    pack_rows(kind, b, words, packed);
}

// Where row n + i, column k of a block that is read in place stands.
static inline const char* place_of(const Block& b, int64_t i) {
  const int64_t bytes = b.m.dtype == RORA_F32 ? 4 : 2;
  return static_cast<const char*>(b.m.data) + ((b.n + i) * b.m.stride + b.k) * bytes;
}

// Rows [i, i + 6) of a block.
static inline Strip strip_at(TileKind kind, const Block& b, int64_t words, const float* packed,
                             int64_t i) {
  if (i + kTileRows <= b.rows && in_place(kind, b))
    return {place_of(b, i), b.m.stride * (b.m.dtype == RORA_F32 ? 4 : 2)};
  return {reinterpret_cast<const char*>(packed + i * words), b.m.transposed ? 0 : words * 4};
}

// Rows [i, i + 32) of a block for matrix tiles.
static inline void set_left(const Block& b, int64_t words, const float* packed, int64_t i,
                            TileRun& run) {
  const bool lies = i + kStripRows <= b.rows && in_place(TileKind::kTiles, b);
  run.w = lies ? place_of(b, i) : reinterpret_cast<const char*>(packed + i * words);
  run.row = lies ? b.m.stride * 2 : kRowBytes;
  run.step = lies ? kRowBytes : kStepBytes;
}

}  // namespace rora::RORA_LEVEL
