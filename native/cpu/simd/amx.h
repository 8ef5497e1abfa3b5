// Products on matrix tiles (Intel AMX): 32 rows of a left factor times 32 tokens.
//
//   acc[i][lane] (+)= sum over runs, k of  w(i, k) x[k][lane]        bf16 factors, fp32 sums
//
//            x: 32 of a panel's 64 tokens     A panel's rows are pairs of features, [k / 2][64][2],
//               +-------+-------+             which is how TDPBF16PS wants its right operand: 16
//   w   +----+  |  b0   |  b1   |             pairs of 16 tokens are a tile where they lie. The
//  rows | a0 |  +-------+-------+             left factor is packed as [step][32 rows][32 k], two
//  32   +----+  |  c0   |  c1   |             tiles a step. A step loads 4 tiles for 4 products of
//       | a1 |  |  c2   |  c3   |             16 cycles. Loads of 1 KB take 8 cycles from L1 and 16
//       +----+  +-------+-------+             or more from L2, so a left strip and half a panel
//                                             should not both stream from there for long.
//
// Tile registers belong to the thread: TileSession sets them up for a task and gives them back,
// so that nobody else's context switches carry 8 KB more. Reference: cpu/reference/linear.cpp.
#pragma once

#include "cpu/simd/vec.h"

#if defined(__AMX_BF16__)
#include <immintrin.h>
#endif

namespace rora::RORA_LEVEL {

constexpr int64_t kStripRows = 32;  // of the left factor
constexpr int64_t kStep = 32;       // of the reduction in one product
constexpr int64_t kStepBytes = kStripRows * kStep * 2;
constexpr int64_t kRowBytes = kStep * 2;  // of a packed row
constexpr int64_t kStepPanelBytes = kStep * kPanel * 2;

// A stretch of the reduction: `steps` whole ones, then, where tail is not NULL, one whose operand
// is a copy filled up with zeros.
struct TileRun {
  const char* w;      // packed, or rows as they lie in memory
  int64_t row, step;  // bytes from one row of w, and from one step of it, to the next
  const char* x;      // a panel's rows from the first one of the stretch on
  int64_t steps;
  const char* tail;
  int64_t next;  // bytes from x to the same rows of the panel that comes next
};

// Which of the 64 lines of a step's operand a sweep fetches ahead of time, from the next panel: all
// sweeps over a panel together fetch all. L3 is too far away to wait for.
struct Ahead {
  int first, count;
};

#if defined(__AMX_BF16__)

constexpr bool kHasTiles = true;

struct alignas(64) TileShapes {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t column_bytes[16] = {64, 64, 64, 64, 64, 64, 64, 64};
  uint8_t rows[16] = {16, 16, 16, 16, 16, 16, 16, 16};
};
// Not a local: GCC 12's intrinsic names only the first 8 bytes as read, and the others are lost.
static constexpr TileShapes kTileShapes;

struct TileSession {
  explicit TileSession(bool wanted) : open(wanted) {
    if (open) _tile_loadconfig(&kTileShapes);
  }
  ~TileSession() {
    if (open) _tile_release();
  }
  TileSession(const TileSession&) = delete;
  TileSession& operator=(const TileSession&) = delete;
  const bool open;
};

static inline void tile_step(const char* w, int64_t row, const char* x) {
  _tile_loadd(6, x, 4 * kPanel);
  _tile_loadd(4, w, row);
  _tile_dpbf16ps(0, 4, 6);
  _tile_loadd(7, x + 64, 4 * kPanel);
  _tile_dpbf16ps(1, 4, 7);
  _tile_loadd(5, w + 16 * row, row);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

// Tokens [lane, lane + 32); acc has rows of 64.
static inline void tile_runs(const TileRun* runs, int count, int lane, const Ahead& ahead,
                             float* acc, bool add) {
  // The intrinsics do not say that they read memory: what was written before must be there.
  __asm__ volatile("" ::: "memory");
  float *top = acc + lane, *bottom = top + 16 * kPanel;
  if (add) {
    _tile_loadd(0, top, 4 * kPanel);
    _tile_loadd(1, top + 16, 4 * kPanel);
    _tile_loadd(2, bottom, 4 * kPanel);
    _tile_loadd(3, bottom + 16, 4 * kPanel);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  for (int r = 0; r < count; ++r) {
    const char *w = runs[r].w, *x = runs[r].x + lane * 4;
    const char* next = runs[r].x + runs[r].next + ahead.first * 64;
    for (int64_t s = 0; s < runs[r].steps; ++s) {
      tile_step(w, runs[r].row, x);
      for (int i = 0; i < ahead.count; ++i) __builtin_prefetch(next + i * 64, 0, 2);
      w += runs[r].step, x += kStepPanelBytes, next += kStepPanelBytes;
    }
    if (runs[r].tail) tile_step(w, runs[r].row, runs[r].tail + lane * 4);
  }
  _tile_stored(0, top, 4 * kPanel);
  _tile_stored(1, top + 16, 4 * kPanel);
  _tile_stored(2, bottom, 4 * kPanel);
  _tile_stored(3, bottom + 16, 4 * kPanel);
}

typedef int64_t v2 __attribute__((vector_size(16)));
typedef int64_t v8 __attribute__((vector_size(64)));
static inline void store_lane(uint16_t* p, v2 lane) { __builtin_memcpy(p, &lane, sizeof lane); }

// out[n][k] = in[k][n] for 32 x 32 numbers of 16 bits; rows of `in` are in_stride apart. Pairs of
// rows are interleaved, 4 x 4 words transposed within 128-bit lanes, and the lanes, 8 k of one n
// each, stored where they belong.
static inline void transpose_32(const uint16_t* in, int64_t in_stride, uint16_t* out) {
  for (int k = 0; k < 32; k += 8) {
    __m512i word[2][4];  // [n % 8 < 4 or not][pair of k]
#pragma GCC unroll 4
    for (int p = 0; p < 4; ++p) {
      const __m512i even = _mm512_loadu_si512(in + (k + 2 * p) * in_stride);
      const __m512i odd = _mm512_loadu_si512(in + (k + 2 * p + 1) * in_stride);
      word[0][p] = _mm512_unpacklo_epi16(even, odd);
      word[1][p] = _mm512_unpackhi_epi16(even, odd);
    }
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h) {
      const __m512i a = _mm512_unpacklo_epi32(word[h][0], word[h][1]);
      const __m512i b = _mm512_unpackhi_epi32(word[h][0], word[h][1]);
      const __m512i c = _mm512_unpacklo_epi32(word[h][2], word[h][3]);
      const __m512i d = _mm512_unpackhi_epi32(word[h][2], word[h][3]);
      const __m512i of_n[4] = {_mm512_unpacklo_epi64(a, c), _mm512_unpackhi_epi64(a, c),
                               _mm512_unpacklo_epi64(b, d), _mm512_unpackhi_epi64(b, d)};
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        uint16_t* target = out + (h * 4 + i) * 32 + k;
        const v8 v = (v8)of_n[i];
        store_lane(target, __builtin_shufflevector(v, v, 0, 1));
        store_lane(target + 8 * 32, __builtin_shufflevector(v, v, 2, 3));
        store_lane(target + 16 * 32, __builtin_shufflevector(v, v, 4, 5));
        store_lane(target + 24 * 32, __builtin_shufflevector(v, v, 6, 7));
      }
    }
  }
}

#else

constexpr bool kHasTiles = false;

struct TileSession {
  explicit TileSession(bool) {}
};

static inline void tile_runs(const TileRun*, int, int, const Ahead&, float*, bool) {}
static inline void transpose_32(const uint16_t*, int64_t, uint16_t*) {}

#endif

}  // namespace rora::RORA_LEVEL
