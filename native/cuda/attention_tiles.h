// What the attention kernels share: which rows tokens attend to, tiles in shared memory, and
// products of tiles by tensor cores (bf16) or by plain multiplications (float).
#pragma once

#include <math.h>

#include <type_traits>

#include "cuda/attention.h"
#include "cuda/rows.h"

namespace rora::cuda {

constexpr float kLog2E = 1.4426950408889634f;
// Below every score, and finite times log2(e), so that no difference of two maxima is NaN.
constexpr float kLowestScore = -1e38f;

RORA_DEVICE float score_scale(int64_t head_dim) { return 1.0f / sqrtf(float(head_dim)); }

// --- Rows that tokens attend to.

struct alignas(8) Range {
  int32_t first, last;

  RORA_DEVICE bool holds(int32_t row) const { return first <= row && row <= last; }
};

// Of a token that does not exist.
constexpr Range kNoRange = {INT32_MAX, -1};

// What is known of the ranges of several tokens.
struct alignas(16) Cover {
  int32_t min_first, max_first, min_last, max_last;

  // Whether some token may attend to one of the rows; whether all attend to all of them.
  RORA_DEVICE bool meets(int32_t row, int32_t rows) const {
    return row <= max_last && row + rows > min_first;
  }
  RORA_DEVICE bool all_hold(int32_t row, int32_t rows) const {
    return max_first <= row && row + rows - 1 <= min_last;
  }
};

template <class T>
RORA_DEVICE Range range_of(const AttentionInputs<T>& in, int64_t token) {
  const int32_t first = in.begins[token];
  return {first, first + in.positions[token]};
}

RORA_DEVICE void join(Cover& cover, int32_t min_first, int32_t max_first, int32_t min_last,
                      int32_t max_last) {
  if (min_first < cover.min_first) cover.min_first = min_first;
  if (max_first > cover.max_first) cover.max_first = max_first;
  if (min_last < cover.min_last) cover.min_last = min_last;
  if (max_last > cover.max_last) cover.max_last = max_last;
}

// Warp. The cover of `count` ranges, the same in each lane.
RORA_DEVICE Cover cover_of(const Range* ranges, int count) {
  Cover cover = {INT32_MAX, -1, INT32_MAX, -1};
  for (int i = int(threadIdx.x) % kWarp; i < count; i += kWarp)
    join(cover, ranges[i].first, ranges[i].first, ranges[i].last, ranges[i].last);
  for (int mask = kWarp / 2; mask > 0; mask /= 2)
    join(cover, shuffle_xor(cover.min_first, mask), shuffle_xor(cover.max_first, mask),
         shuffle_xor(cover.min_last, mask), shuffle_xor(cover.max_last, mask));
  return cover;
}

// A tile of keys, and which of its rows anybody attends to: bit i of a lane says it of row
// `row + lane + 32 i`. The others may hold what is not finite and become zeros.
struct KeyTile {
  int32_t row;
  uint32_t attended;
};

// Warp. The first tile of kTile rows at or after `row`, in steps of kTile, to which one of kTokens
// tokens attends; a row after cover.max_last if there is none. All warps find the same.
template <int kTile, int kTokens>
RORA_DEVICE KeyTile next_tile(const Cover& cover, const Range* ranges, int32_t row) {
  for (; row <= cover.max_last; row += kTile) {
    if (cover.all_hold(row, kTile)) return {row, 3};
    const int32_t low = row + int32_t(threadIdx.x) % kWarp, high = low + kWarp;
    uint32_t attended = 0;
    if (cover.min_first == cover.max_first) {  // one document: the longest range holds the others
      attended = uint32_t(low <= cover.max_last) | uint32_t(high <= cover.max_last) << 1;
    } else {
      for (int i = 0; i < kTokens; ++i)
        attended |= uint32_t(ranges[i].holds(low)) | uint32_t(ranges[i].holds(high)) << 1;
    }
    if (kTile < kWarp && low >= row + kTile) attended = 0;
    if (kTile <= kWarp) attended &= 1;
    uint32_t any = attended;
    for (int mask = kWarp / 2; mask > 0; mask /= 2) any |= shuffle_xor(any, mask);
    if (any != 0) return {row, attended};
  }
  return {row, 0};
}

// Warp. Whether anybody attends to row `row + r`, r known to be the same or not in the lanes.
RORA_DEVICE bool is_attended(const KeyTile& tile, int r) {
  return (shuffle(tile.attended, r % kWarp) >> (r / kWarp) & 1) != 0;
}

// --- One head's columns of a matrix.

template <class T>
struct Columns {
  const T* data;
  int64_t pitch;
  int dim;
  bool packs;  // the columns are whole packs of 16 bytes
};

template <class T>
RORA_DEVICE Columns<T> head_columns(const T* matrix, int64_t pitch, int64_t head, int64_t dim) {
  const bool packs = (reinterpret_cast<uintptr_t>(matrix) | uintptr_t(pitch * int64_t(sizeof(T))) |
                      uintptr_t(dim * int64_t(sizeof(T)))) %
                         16 ==
                     0;
  return {matrix + head * dim, pitch, int(dim), packs};
}

// --- Tiles of bf16 for tensor cores.

// A tile [rows, kDim] has no gaps; its rows are chunks of 16 bytes. Eight rows' chunks of the same
// number, which ldmatrix reads at once, stand in different banks:
//
//   kDim 64   row 0 | 0 1 2 3 4 5 6 7 |     128 bytes, all banks. Chunk c of row r stands at
//             row 1 | 1 0 3 2 5 4 7 6 |     c xor r % 8; where several rows share 128 bytes, c xor
//             row 2 | 2 3 0 1 6 7 4 5 |     the number of those 128 bytes.
template <int kDim>
RORA_DEVICE int swizzled(int row, int chunk) {
  constexpr int kSwaps = kDim < 64 ? kDim / 8 : 8;
  return row * kDim + (chunk ^ (row / (8 / kSwaps) % kSwaps)) * 8;
}

// Eight elements of a row whose columns are no whole packs, as the words of a chunk.
RORA_DEVICE Bytes<16> gather_chunk(const bf16* source, int columns) {
  Bytes<16> bytes = {};
  RORA_UNROLL
  for (int pair = 0; pair < 4; ++pair)
    if (pair * 2 < columns)
      bytes.word[pair] = reinterpret_cast<const Bytes<4>*>(source)[pair].word[0];
  return bytes;
}

// Block. Copies rows [row, row + kRows) for which valid(r) holds, r from 0, and zeros for the
// others and for columns from dim to kDim. Readable after commit, wait and barrier. Lanes call
// valid() together. A thread keeps its column; the loop is left a loop to save registers.
template <int kDim, int kRows, int kThreads, class Valid>
RORA_DEVICE void copy_tile(bf16* tile, const Columns<bf16>& from, int64_t row, const Valid& valid) {
  constexpr int kChunks = kDim / 8, kStep = kThreads / kChunks;
  static_assert(kThreads % kChunks == 0 && (kRows % kStep == 0 || kRows * kChunks % kWarp == 0));
  const int chunk = int(threadIdx.x) % kChunks, columns = from.dim - chunk * 8;
  const bf16* source = from.data + (row + int(threadIdx.x) / kChunks) * from.pitch + chunk * 8;
  for (int r = int(threadIdx.x) / kChunks; r < kRows; r += kStep, source += kStep * from.pitch) {
    const bool copied = valid(r) && columns > 0;
    bf16* target = tile + swizzled<kDim>(r, chunk);
    if (from.packs)
      copy_async_16(target, copied ? source : from.data, copied);
    else
      *reinterpret_cast<Bytes<16>*>(target) = copied ? gather_chunk(source, columns) : Bytes<16>{};
  }
}

// Keeps the compiler from working out, before a loop, all that follows from `offset` in it: the
// addresses of a whole tile would fill the registers.
#if defined(__CUDACC__)
RORA_DEVICE void stay_in_loop(int& offset) { asm volatile("" : "+r"(offset)); }
#else
inline void stay_in_loop(int&) {}
#endif

// Warp. s += a b^T of 16 rows of `a` and 8 N rows of `b`, all of kDim columns. Even chunks are
// swizzled by the same exclusive or as chunk 0 and can follow it.
template <int kDim, int N>
RORA_DEVICE void multiply_transposed(float (&s)[N][4], const bf16* a, int a_row, const bf16* b) {
  const int lane = int(threadIdx.x) % kWarp;
  int a_at = swizzled<kDim>(a_row + lane % 16, lane / 16);
  int b_at = swizzled<kDim>(lane / 16 * 8 + lane % 8, lane / 8 % 2);
  stay_in_loop(a_at);
  stay_in_loop(b_at);
  RORA_UNROLL
  for (int chunk = 0; chunk < kDim / 8; chunk += 2) {
    uint32_t left[4];
    load_matrices(left, a + (a_at ^ chunk * 8));
    RORA_UNROLL
    for (int n = 0; n < N; n += 2) {
      uint32_t right[4];
      load_matrices(right, b + n * 8 * kDim + (b_at ^ chunk * 8));
      multiply_add(s[n], left, right[0], right[1]);
      multiply_add(s[n + 1], left, right[2], right[3]);
    }
  }
}

// Warp. sum += p b with p [16, 8 N] as multiply_transposed() left it, rounded to bf16, and kOut
// columns of `b` [8 N, kDim] from chunk `chunk` on, which kOut / 8 divides. An accumulator's layout
// is an operand's.
template <int kDim, int N, int kOut>
RORA_DEVICE void multiply(float (&sum)[kOut / 8][4], const float (&p)[N][4], const bf16* b,
                          int chunk) {
  const int lane = int(threadIdx.x) % kWarp;
  int b_at = swizzled<kDim>(lane % 16, lane / 16) ^ chunk * 8;
  stay_in_loop(b_at);
  RORA_UNROLL
  for (int n = 0; n < N; n += 2) {
    const uint32_t left[4] = {round_pair(p[n][0], p[n][1]), round_pair(p[n][2], p[n][3]),
                              round_pair(p[n + 1][0], p[n + 1][1]),
                              round_pair(p[n + 1][2], p[n + 1][3])};
    RORA_UNROLL
    for (int c = 0; c < kOut / 8; c += 2) {
      uint32_t right[4];
      load_matrices_transposed(right, b + n * 8 * kDim + (b_at ^ c * 8));
      multiply_add(sum[c], left, right[0], right[1]);
      multiply_add(sum[c + 1], left, right[2], right[3]);
    }
  }
}

// Warp. Writes a sum [16, kOut] times a factor for rows g and g + 8 to `target`, where rows < rows
// and columns < columns.
template <int kOut>
RORA_DEVICE void store_sum(bf16* target, int64_t pitch, int64_t rows, int columns,
                           const float (&sum)[kOut / 8][4], const float (&factor)[2]) {
  const int g = int(threadIdx.x) % kWarp / 4, t = int(threadIdx.x) % 4;
  RORA_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int row = g + half * 8;
    if (row >= rows) continue;
    RORA_UNROLL
    for (int c = 0; c < kOut / 8; ++c) {
      const int column = c * 8 + t * 2;
      if (column < columns)
        reinterpret_cast<Bytes<4>*>(target + row * pitch + column)->word[0] =
            round_pair(sum[c][half * 2] * factor[half], sum[c][half * 2 + 1] * factor[half]);
    }
  }
}

// --- Tiles of floats. A block of 16 x 16 threads; thread (y, x) owns rows y kEach + i and of
// scores columns x + 16 j, of features columns x + 16 c. What a row's 16 threads exchange stays in
// half a warp.

constexpr int kFloatThreads = 256;

template <int kDim>
struct FloatTile {
  static constexpr int kRows = kDim <= 128 ? 32 : 16;
  static constexpr int kEach = kRows / 16;
  static constexpr int kPitch = kDim + 4;  // eight rows' 16 bytes fall in different banks
  static constexpr int kColumns = kDim / 16;
  alignas(128) float at[kRows * kPitch];
};

// Scores of a tile, for all threads of a row.
template <int kRows>
struct FloatScores {
  float at[kRows][kRows + 1];
};

// Block. As copy_tile(); readable after a barrier.
template <int kDim, class Valid>
RORA_DEVICE void load_tile(FloatTile<kDim>& tile, const Columns<float>& from, int64_t row,
                           const Valid& valid) {
  constexpr int kPairs = kDim / 2;
  RORA_UNROLL_BY(2)
  for (int i = int(threadIdx.x); i < FloatTile<kDim>::kRows * kPairs; i += kFloatThreads) {
    const int r = i / kPairs, column = i % kPairs * 2;
    const bool taken = valid(r) && column < from.dim;
    float pair[2] = {};
    if (taken) load(from.data + (row + r) * from.pitch + column, 2, pair);
    store(tile.at + r * tile.kPitch + column, 2, pair);
  }
}

// s = a b^T.
template <int kDim, int kEach>
RORA_DEVICE void multiply_transposed(float (&s)[kEach][kEach], const FloatTile<kDim>& a,
                                     const FloatTile<kDim>& b) {
  const int x = int(threadIdx.x) % 16, y = int(threadIdx.x) / 16;
  for (int i = 0; i < kEach; ++i)
    for (int j = 0; j < kEach; ++j) s[i][j] = 0.0f;
  RORA_UNROLL_BY(2)
  for (int d = 0; d < kDim; d += 4) {
    float left[kEach][4], right[kEach][4];
    RORA_UNROLL
    for (int i = 0; i < kEach; ++i) load(a.at + (y * kEach + i) * a.kPitch + d, 4, left[i]);
    RORA_UNROLL
    for (int j = 0; j < kEach; ++j) load(b.at + (x + 16 * j) * b.kPitch + d, 4, right[j]);
    RORA_UNROLL
    for (int i = 0; i < kEach; ++i) {
      RORA_UNROLL
      for (int j = 0; j < kEach; ++j) {
        RORA_UNROLL
        for (int e = 0; e < 4; ++e) s[i][j] += left[i][e] * right[j][e];
      }
    }
  }
}

// sum += p b, p complete for the thread's rows.
template <int kDim, int kRows, int kEach>
RORA_DEVICE void multiply(float (&sum)[kEach][kDim / 16], const FloatScores<kRows>& p,
                          const FloatTile<kDim>& b) {
  const int x = int(threadIdx.x) % 16, y = int(threadIdx.x) / 16;
  RORA_UNROLL_BY(4)
  for (int j = 0; j < kRows; ++j) {
    float weight[kEach];
    RORA_UNROLL
    for (int i = 0; i < kEach; ++i) weight[i] = p.at[y * kEach + i][j];
    RORA_UNROLL
    for (int c = 0; c < kDim / 16; ++c) {
      const float value = b.at[j * b.kPitch + x + 16 * c];
      RORA_UNROLL
      for (int i = 0; i < kEach; ++i) sum[i][c] += weight[i] * value;
    }
  }
}

// Row `row` of a sum, times a factor.
template <int kDim>
RORA_DEVICE void store_row(float* target, int dim, const float (&sum)[kDim / 16], float factor) {
  RORA_UNROLL
  for (int c = 0; c < kDim / 16; ++c) {
    const int column = int(threadIdx.x) % 16 + 16 * c;
    if (column < dim) target[column] = sum[c] * factor;
  }
}

// --- For the host.

// Calls body(a constant): the least head_dim that kernels are made for and that holds this one.
template <class Body>
const char* with_padded_dim(int64_t head_dim, const Body& body) {
  if (head_dim <= 16) return body(std::integral_constant<int, 16>());
  if (head_dim <= 32) return body(std::integral_constant<int, 32>());
  if (head_dim <= 64) return body(std::integral_constant<int, 64>());
  if (head_dim <= 128) return body(std::integral_constant<int, 128>());
  return body(std::integral_constant<int, 256>());
}

template <class T>
const char* check_inputs(const AttentionInputs<T>& in) {
  if (in.head_dim < 2 || in.head_dim % 2 != 0 || in.head_dim > kMaxHeadDim)
    return "attention: head_dim must be even, at least 2 and at most 256";
  if (in.kv_heads < 1 || in.heads < 1 || in.heads % in.kv_heads != 0)
    return "attention: kv_heads must divide heads";
  return "";
}

inline bool failed(const char* status) { return status[0] != '\0'; }

}  // namespace rora::cuda
