// Attention, backward pass (arXiv:2205.14135, app. B.2), of p = softmax(s) with s = c q k^T,
// c = 1 / sqrt(head_dim):
//   dv = p^T dy,  ds = p o (dy v^T - D),  D = sum over features of y o dy,
//   dq = c ds k,  dk = c ds^T q.
// Three kernels, none with atomics, every sum in one order. Reference: cpu/reference/attention.cpp.
//
// 1. attention_prepare_kernel: D and the statistics that the other two read, padded so that they
//    need not ask which tokens exist.
// 2. attention_keys_kernel: a block owns keys of one kv head, and walks the query heads of its
//    group and the tiles of queries that see them. s^T is computed, so that p^T and ds^T lie in
//    registers as operands of the next products.
//
//      queries  0    32   64            warp w: 16 keys
//      keys 0   | \ #|####|####|  head 0    | s^T = k q^T | dp^T = v dy^T |
//          64   |    |  \ |####|            | dv += p^T dy | dk += ds^T q |
//         then the same of the group's head 1, 2, ...
//
// 3. attention_queries_kernel: a block owns queries of one head and walks the tiles of keys that
//    they see: s, dp = dy v^T, dq += ds k.
//
// Both own 64 rows, 128 at head_dim 128 (8 warps: shared memory has room for one block on sm_86, 89
// and 120), of two matrices, and stream tiles of 32 (16 at 256) of two others through two stages of
// cp.async, one barrier a tile. At head_dim 256 dk and dv do not fit registers: two blocks compute
// half of the columns each. Seven products instead of the five of one kernel with atomics, for sums
// that are the same in every run and no gradient of q in fp32.
//
// Traffic of 2: k, v, dk, dv once; q and dy once per 64 (128) keys, from the L2 cache. Of 3: q, dy,
// dq once, k and v once per 64 (128) queries. Shared memory: 33 KB at 64, 97 KB (queries: 98) at
// 128, 97 KB at 256.
#include "cuda/attention_tiles.h"

namespace rora::cuda {
namespace {

template <int kDim>
struct Blocks {
  static constexpr int kWarps = kDim == 128 ? 8 : 4;
  static constexpr int kThreads = kWarps * kWarp;
  static constexpr int kOwned = kWarps * 16;
  static constexpr int kTile = kDim <= 128 ? 32 : 16;
  static constexpr int kOut = kDim <= 128 ? kDim : 128;  // columns of dk and dv of a block
};

template <class T, int kDim>
constexpr int kStreamed = Blocks<kDim>::kTile;
template <int kDim>
constexpr int kStreamed<float, kDim> = FloatTile<kDim>::kRows;

constexpr int64_t kPadding = 128;  // the most rows that a block owns
constexpr int64_t kLeastTile = 16;

inline int64_t padded_tokens(int64_t tokens) { return blocks_of(tokens, kPadding) * kPadding; }

// What attention_prepare_kernel makes for the others. Tokens that do not exist have no range, an
// infinite lse, so that their p is 0, and D = 0.
struct Statistics {
  int64_t padded;
  float *lse, *delta;  // [heads, padded]: log2 of the sum of exponentials of the scores, D
  Range* ranges;       // [padded]
  Cover* covers;       // [padded / tile]
};

inline Statistics statistics_of(float* workspace, int64_t tokens, int64_t heads) {
  const int64_t padded = padded_tokens(tokens);
  float* delta = workspace + heads * padded;
  auto* ranges = reinterpret_cast<Range*>(delta + heads * padded);
  return {padded, workspace, delta, ranges, reinterpret_cast<Cover*>(ranges + padded)};
}

template <class T>
struct Backward {
  AttentionBackward<T> op;
  Statistics statistics;
  int tile;
};

// --- 1. A block of 128 threads owns 64 tokens of one head, eight lanes a token: y and dy once.

constexpr int kPrepared = 64;
constexpr int kPrepareThreads = 128;

template <class T>
RORA_DEVICE float row_product(const AttentionBackward<T>& op, int64_t token, int64_t head) {
  const T* y = op.y + token * op.y_pitch + head * op.in.head_dim;
  const T* dy = op.dy + token * op.dy_pitch + head * op.in.head_dim;
  float sum = 0.0f;
  for (int64_t d = int64_t(threadIdx.x % 8) * 2; d < op.in.head_dim; d += 16) {
    float a[2], b[2];
    load(y + d, 2, a);
    load(dy + d, 2, b);
    sum += a[0] * b[0] + a[1] * b[1];
  }
  return sum;
}

template <class T>
__global__ void __launch_bounds__(kPrepareThreads) attention_prepare_kernel(Backward<T> work) {
  const AttentionBackward<T>& op = work.op;
  const int64_t first = int64_t(blockIdx.x) * kPrepared, head = blockIdx.y;
  for (int i = int(threadIdx.x) / 8; i < kPrepared; i += kPrepareThreads / 8) {
    const int64_t token = first + i;
    const bool exists = token < op.in.tokens;
    float sum = exists ? row_product(op, token, head) : 0.0f;
    for (int mask = 4; mask > 0; mask /= 2) sum += shuffle_xor(sum, mask);
    if (threadIdx.x % 8 != 0) continue;
    const int64_t at = head * work.statistics.padded + token;
    work.statistics.delta[at] = sum;
    work.statistics.lse[at] = exists ? op.lse[head * op.lse_pitch + token] * kLog2E : INFINITY;
  }
  if (head != 0) return;
  for (int i = int(threadIdx.x); i < kPrepared; i += kPrepareThreads)
    work.statistics.ranges[first + i] =
        first + i < op.in.tokens ? range_of(op.in, first + i) : kNoRange;
  block_sync();
  for (int i = int(threadIdx.x) * work.tile; i < kPrepared; i += kPrepareThreads * work.tile) {
    Cover cover = {INT32_MAX, -1, INT32_MAX, -1};
    for (int j = i; j < i + work.tile; ++j) {
      const Range range = work.statistics.ranges[first + j];
      join(cover, range.first, range.first, range.last, range.last);
    }
    work.statistics.covers[(first + i) / work.tile] = cover;
  }
}

// --- 2. and 3. with tensor cores.

// The walk over a group's query heads and, for each, the tiles of queries that see some of the
// rows.
struct QueryTile {
  int64_t head, tile;  // head within the group
};

RORA_DEVICE void to_visible(QueryTile& at, const Cover* covers, int64_t tiles, int64_t group,
                            int32_t row, int32_t rows) {
  while (at.head < group && (at.tile >= tiles || !covers[at.tile].meets(row, rows))) {
    if (++at.tile < tiles) continue;
    at.tile = 0;
    ++at.head;
  }
}

template <int kDim>
struct KeysMemory {
  using B = Blocks<kDim>;
  alignas(128) bf16 k[B::kOwned * kDim], v[B::kOwned * kDim];
  struct Stage {
    alignas(128) bf16 q[B::kTile * kDim], dy[B::kTile * kDim];
    float lse[B::kTile], delta[B::kTile];
    Range ranges[B::kTile];
  } stage[2];
};

// Copies a tile's statistics, 16 bytes a thread.
template <int kTile>
RORA_DEVICE void copy_statistics(float* lse, float* delta, Range* ranges, const Statistics& from,
                                 int64_t head, int64_t token) {
  const int i = int(threadIdx.x);
  const int64_t at = head * from.padded + token;
  if (i < kTile / 4)
    copy_async_16(lse + i * 4, from.lse + at + i * 4, true);
  else if (i < kTile / 2)
    copy_async_16(delta + (i - kTile / 4) * 4, from.delta + at + (i - kTile / 4) * 4, true);
  else if (i < kTile)
    copy_async_16(ranges + (i - kTile / 2) * 2, from.ranges + token + (i - kTile / 2) * 2, true);
}

template <int kDim>
__global__ void __launch_bounds__(Blocks<kDim>::kThreads)
    attention_keys_kernel(Backward<bf16> work) {
  using B = Blocks<kDim>;
  constexpr int kTile = B::kTile, kThreads = B::kThreads;
  auto& memory = *shared_memory<KeysMemory<kDim>>();
  const AttentionBackward<bf16>& op = work.op;
  const AttentionInputs<bf16>& in = op.in;
  const int64_t kv_head = blockIdx.x, group = in.heads / in.kv_heads;
  const int32_t key = int32_t(blockIdx.y) * B::kOwned;
  const int warp = int(threadIdx.x) / kWarp, g = int(threadIdx.x) % kWarp / 4;
  const int t = int(threadIdx.x) % 4, column = int(blockIdx.z) * B::kOut;
  const int32_t mine = key + warp * 16;  // this warp's first key
  const int64_t tiles = (in.tokens + kTile - 1) / kTile;

  const auto own = [&](int r) { return key + r < in.tokens; };
  copy_tile<kDim, B::kOwned, kThreads>(
      memory.k, head_columns(in.k, in.kv_pitch, kv_head, in.head_dim), key, own);
  copy_tile<kDim, B::kOwned, kThreads>(
      memory.v, head_columns(in.v, in.kv_pitch, kv_head, in.head_dim), key, own);
  const auto copy = [&](const QueryTile& at, int stage) {
    const int64_t head = kv_head * group + at.head, token = at.tile * kTile;
    const auto exists = [&](int r) { return token + r < in.tokens; };
    auto& to = memory.stage[stage];
    copy_tile<kDim, kTile, kThreads>(to.q, head_columns(in.q, in.q_pitch, head, in.head_dim), token,
                                     exists);
    copy_tile<kDim, kTile, kThreads>(to.dy, head_columns(op.dy, op.dy_pitch, head, in.head_dim),
                                     token, exists);
    copy_statistics<kTile>(to.lse, to.delta, to.ranges, work.statistics, head, token);
  };

  const float scale = score_scale(in.head_dim);
  float dk[B::kOut / 8][4] = {}, dv[B::kOut / 8][4] = {};
  QueryTile at = {0, 0};
  to_visible(at, work.statistics.covers, tiles, group, key, B::kOwned);
  if (at.head < group) copy(at, 0);
  copy_commit();
  for (int stage = 0; at.head < group; stage ^= 1) {
    const Cover cover = work.statistics.covers[at.tile];
    QueryTile next = {at.head, at.tile + 1};
    to_visible(next, work.statistics.covers, tiles, group, key, B::kOwned);
    copy_wait<0>();
    block_sync();  // this stage is there, nobody still reads the other
    if (next.head < group) copy(next, stage ^ 1);
    copy_commit();
    at = next;
    if (!cover.meets(mine, 16)) continue;

    const auto& from = memory.stage[stage];
    float p[kTile / 8][4] = {}, ds[kTile / 8][4] = {};
    multiply_transposed<kDim>(p, memory.k, warp * 16, from.q);
    multiply_transposed<kDim>(ds, memory.v, warp * 16, from.dy);
    const bool all_hold = cover.all_hold(mine, 16);
    RORA_UNROLL
    for (int n = 0; n < kTile / 8; ++n) {
      RORA_UNROLL
      for (int i = 0; i < 2; ++i) {
        const int query = n * 8 + t * 2 + i;
        const float lse = from.lse[query], delta = from.delta[query];
        const Range range = all_hold ? kNoRange : from.ranges[query];
        RORA_UNROLL
        for (int half = 0; half < 2; ++half) {
          float& value = p[n][half * 2 + i];
          value = fast_exp2(fmaf(value, scale * kLog2E, -lse));
          if (!all_hold && !range.holds(mine + g + half * 8)) value = 0.0f;
          ds[n][half * 2 + i] = value * (ds[n][half * 2 + i] - delta);
        }
      }
    }
    multiply<kDim, kTile / 8, B::kOut>(dv, p, from.dy, column / 8);
    multiply<kDim, kTile / 8, B::kOut>(dk, ds, from.q, column / 8);
  }
  copy_wait<0>();

  const int64_t rows = in.tokens - mine,
                offset = mine * op.dkv_pitch + kv_head * in.head_dim + column;
  const float one[2] = {1.0f, 1.0f}, scales[2] = {scale, scale};
  store_sum<B::kOut>(op.dv + offset, op.dkv_pitch, rows, int(in.head_dim) - column, dv, one);
  store_sum<B::kOut>(op.dk + offset, op.dkv_pitch, rows, int(in.head_dim) - column, dk, scales);
}

template <int kDim>
struct QueriesMemory {
  using B = Blocks<kDim>;
  alignas(128) bf16 q[B::kOwned * kDim], dy[B::kOwned * kDim];
  struct Stage {
    alignas(128) bf16 k[B::kTile * kDim], v[B::kTile * kDim];
  } stage[2];
  float lse[B::kOwned], delta[B::kOwned];
  Range ranges[B::kOwned];
};

template <int kDim>
__global__ void __launch_bounds__(Blocks<kDim>::kThreads)
    attention_queries_kernel(Backward<bf16> work) {
  using B = Blocks<kDim>;
  constexpr int kTile = B::kTile, kThreads = B::kThreads;
  auto& memory = *shared_memory<QueriesMemory<kDim>>();
  const AttentionBackward<bf16>& op = work.op;
  const AttentionInputs<bf16>& in = op.in;
  const int64_t head = blockIdx.x, kv_head = head / (in.heads / in.kv_heads);
  const int64_t token = int64_t(gridDim.y - 1 - blockIdx.y) * B::kOwned;
  const int warp = int(threadIdx.x) / kWarp, g = int(threadIdx.x) % kWarp / 4;
  const int t = int(threadIdx.x) % 4;

  const auto own = [&](int r) { return token + r < in.tokens; };
  copy_tile<kDim, B::kOwned, kThreads>(memory.q, head_columns(in.q, in.q_pitch, head, in.head_dim),
                                       token, own);
  copy_tile<kDim, B::kOwned, kThreads>(
      memory.dy, head_columns(op.dy, op.dy_pitch, head, in.head_dim), token, own);
  if (threadIdx.x < B::kOwned) {
    const int64_t at = token + threadIdx.x;
    memory.lse[threadIdx.x] = work.statistics.lse[head * work.statistics.padded + at];
    memory.delta[threadIdx.x] = work.statistics.delta[head * work.statistics.padded + at];
    memory.ranges[threadIdx.x] = work.statistics.ranges[at];
  }
  block_sync();
  const Cover all = cover_of(memory.ranges, B::kOwned);
  const Cover mine = cover_of(memory.ranges + warp * 16, 16);
  const auto k = head_columns(in.k, in.kv_pitch, kv_head, in.head_dim);
  const auto v = head_columns(in.v, in.kv_pitch, kv_head, in.head_dim);
  const auto copy = [&](int32_t row, int stage) {
    const auto needed = [&](int r) { return row + r <= all.max_last; };
    copy_tile<kDim, kTile, kThreads>(memory.stage[stage].k, k, row, needed);
    copy_tile<kDim, kTile, kThreads>(memory.stage[stage].v, v, row, needed);
  };

  const float scale = score_scale(in.head_dim);
  float dq[kDim / 8][4] = {};
  copy(all.min_first, 0);
  copy_commit();
  int stage = 0;
  for (int32_t row = all.min_first; row <= all.max_last; row += kTile, stage ^= 1) {
    copy_wait<0>();
    block_sync();  // this stage is there, nobody still reads the other
    if (row + kTile <= all.max_last) copy(row + kTile, stage ^ 1);
    copy_commit();
    if (!mine.meets(row, kTile)) continue;

    const auto& from = memory.stage[stage];
    float p[kTile / 8][4] = {}, ds[kTile / 8][4] = {};
    multiply_transposed<kDim>(p, memory.q, warp * 16, from.k);
    multiply_transposed<kDim>(ds, memory.dy, warp * 16, from.v);
    const bool all_hold = mine.all_hold(row, kTile);
    RORA_UNROLL
    for (int half = 0; half < 2; ++half) {
      const int own_row = warp * 16 + g + half * 8;
      const float lse = memory.lse[own_row], delta = memory.delta[own_row];
      const Range range = memory.ranges[own_row];
      RORA_UNROLL
      for (int n = 0; n < kTile / 8; ++n) {
        RORA_UNROLL
        for (int i = half * 2; i < half * 2 + 2; ++i) {
          float value = fast_exp2(fmaf(p[n][i], scale * kLog2E, -lse));
          if (!all_hold && !range.holds(row + n * 8 + t * 2 + i % 2)) value = 0.0f;
          ds[n][i] = value * (ds[n][i] - delta);
        }
      }
    }
    multiply<kDim, kTile / 8, kDim>(dq, ds, from.k, 0);
  }
  copy_wait<0>();

  const float scales[2] = {scale, scale};
  store_sum<kDim>(op.dq + (token + warp * 16) * op.dq_pitch + head * in.head_dim, op.dq_pitch,
                  in.tokens - token - warp * 16, int(in.head_dim), dq, scales);
}

// --- 2. and 3. for float: tiles of 32 x 32 (16 x 16 at 256), one stage; p and ds through shared
// memory. 76 KB at head_dim 128.

template <int kDim>
struct FloatBackwardMemory {
  FloatTile<kDim> q, k, v, dy;
  FloatScores<FloatTile<kDim>::kRows> p, ds;
  float lse[FloatTile<kDim>::kRows], delta[FloatTile<kDim>::kRows];
  Range ranges[FloatTile<kDim>::kRows];
};

template <int kDim>
RORA_DEVICE void load_statistics(FloatBackwardMemory<kDim>& memory, const Statistics& from,
                                 int64_t head, int64_t token) {
  const int i = int(threadIdx.x);
  if (i >= FloatTile<kDim>::kRows) return;
  memory.lse[i] = from.lse[head * from.padded + token + i];
  memory.delta[i] = from.delta[head * from.padded + token + i];
  memory.ranges[i] = from.ranges[token + i];
}

// p and ds of one score and its dy . v.
RORA_DEVICE float probability(float score, float scale, float lse, const Range& range,
                              int32_t key) {
  return range.holds(key) ? fast_exp2(fmaf(score, scale * kLog2E, -lse)) : 0.0f;
}

template <int kDim>
__global__ void __launch_bounds__(kFloatThreads, 2)
    attention_keys_float_kernel(Backward<float> work) {
  using Tile = FloatTile<kDim>;
  constexpr int kRows = Tile::kRows, kEach = Tile::kEach;
  auto& memory = *shared_memory<FloatBackwardMemory<kDim>>();
  const AttentionBackward<float>& op = work.op;
  const AttentionInputs<float>& in = op.in;
  const int64_t kv_head = blockIdx.x, group = in.heads / in.kv_heads;
  const int32_t key = int32_t(blockIdx.y) * kRows;
  const int64_t tiles = (in.tokens + kRows - 1) / kRows;
  const int x = int(threadIdx.x) % 16, y = int(threadIdx.x) / 16;
  const float scale = score_scale(in.head_dim);

  const auto own = [&](int r) { return key + r < in.tokens; };
  load_tile(memory.k, head_columns(in.k, in.kv_pitch, kv_head, in.head_dim), key, own);
  load_tile(memory.v, head_columns(in.v, in.kv_pitch, kv_head, in.head_dim), key, own);
  float dk[kEach][Tile::kColumns] = {}, dv[kEach][Tile::kColumns] = {};
  QueryTile at = {0, 0};
  to_visible(at, work.statistics.covers, tiles, group, key, kRows);
  while (at.head < group) {
    const int64_t head = kv_head * group + at.head, token = at.tile * kRows;
    const auto exists = [&](int r) { return token + r < in.tokens; };
    load_tile(memory.q, head_columns(in.q, in.q_pitch, head, in.head_dim), token, exists);
    load_tile(memory.dy, head_columns(op.dy, op.dy_pitch, head, in.head_dim), token, exists);
    load_statistics(memory, work.statistics, head, token);
    block_sync();  // the tiles are complete
    float s[kEach][kEach], dp[kEach][kEach];
    multiply_transposed(s, memory.k, memory.q);
    multiply_transposed(dp, memory.v, memory.dy);
    RORA_UNROLL
    for (int i = 0; i < kEach; ++i) {
      RORA_UNROLL
      for (int j = 0; j < kEach; ++j) {
        const int row = y * kEach + i, query = x + 16 * j;
        const float p =
            probability(s[i][j], scale, memory.lse[query], memory.ranges[query], key + row);
        memory.p.at[row][query] = p;
        memory.ds.at[row][query] = p * (dp[i][j] - memory.delta[query]);
      }
    }
    warp_sync();  // p and ds are complete for the rows of the warp
    multiply<kDim>(dv, memory.p, memory.dy);
    multiply<kDim>(dk, memory.ds, memory.q);
    ++at.tile;
    to_visible(at, work.statistics.covers, tiles, group, key, kRows);
    block_sync();  // nobody still reads the tiles
  }
  RORA_UNROLL
  for (int i = 0; i < kEach; ++i) {
    const int64_t row = key + y * kEach + i;
    if (row >= in.tokens) continue;
    const int64_t offset = row * op.dkv_pitch + kv_head * in.head_dim;
    store_row<kDim>(op.dv + offset, int(in.head_dim), dv[i], 1.0f);
    store_row<kDim>(op.dk + offset, int(in.head_dim), dk[i], scale);
  }
}

template <int kDim>
__global__ void __launch_bounds__(kFloatThreads, 2)
    attention_queries_float_kernel(Backward<float> work) {
  using Tile = FloatTile<kDim>;
  constexpr int kRows = Tile::kRows, kEach = Tile::kEach;
  auto& memory = *shared_memory<FloatBackwardMemory<kDim>>();
  const AttentionBackward<float>& op = work.op;
  const AttentionInputs<float>& in = op.in;
  const int64_t head = blockIdx.x, kv_head = head / (in.heads / in.kv_heads);
  const int64_t token = int64_t(gridDim.y - 1 - blockIdx.y) * kRows;
  const int x = int(threadIdx.x) % 16, y = int(threadIdx.x) / 16;
  const float scale = score_scale(in.head_dim);
  const auto k = head_columns(in.k, in.kv_pitch, kv_head, in.head_dim);
  const auto v = head_columns(in.v, in.kv_pitch, kv_head, in.head_dim);

  const auto own = [&](int r) { return token + r < in.tokens; };
  load_tile(memory.q, head_columns(in.q, in.q_pitch, head, in.head_dim), token, own);
  load_tile(memory.dy, head_columns(op.dy, op.dy_pitch, head, in.head_dim), token, own);
  load_statistics(memory, work.statistics, head, token);
  block_sync();
  const Cover all = cover_of(memory.ranges, kRows);
  float dq[kEach][Tile::kColumns] = {};
  for (int32_t first = all.min_first; first <= all.max_last; first += kRows) {
    const auto needed = [&](int r) { return first + r <= all.max_last; };
    load_tile(memory.k, k, first, needed);
    load_tile(memory.v, v, first, needed);
    block_sync();  // the tiles are complete
    float s[kEach][kEach], dp[kEach][kEach];
    multiply_transposed(s, memory.q, memory.k);
    multiply_transposed(dp, memory.dy, memory.v);
    RORA_UNROLL
    for (int i = 0; i < kEach; ++i) {
      RORA_UNROLL
      for (int j = 0; j < kEach; ++j) {
        const int row = y * kEach + i;
        const float p =
            probability(s[i][j], scale, memory.lse[row], memory.ranges[row], first + x + 16 * j);
        memory.ds.at[row][x + 16 * j] = p * (dp[i][j] - memory.delta[row]);
      }
    }
    warp_sync();  // ds is complete for the rows of the warp
    multiply<kDim>(dq, memory.ds, memory.k);
    block_sync();  // nobody still reads the tiles
  }
  RORA_UNROLL
  for (int i = 0; i < kEach; ++i) {
    const int64_t row = token + y * kEach + i;
    if (row < in.tokens)
      store_row<kDim>(op.dq + row * op.dq_pitch + head * in.head_dim, int(in.head_dim), dq[i],
                      scale);
  }
}

// --- Launches.

template <int kDim>
const char* start(Stream stream, const Backward<bf16>& work) {
  using B = Blocks<kDim>;
  const AttentionInputs<bf16>& in = work.op.in;
  const uint32_t blocks = uint32_t(blocks_of(in.tokens, B::kOwned));
  const char* status =
      launch(attention_keys_kernel<kDim>, {uint32_t(in.kv_heads), blocks, uint32_t(kDim / B::kOut)},
             B::kThreads, sizeof(KeysMemory<kDim>), stream, work);
  if (failed(status)) return status;
  return launch(attention_queries_kernel<kDim>, {uint32_t(in.heads), blocks}, B::kThreads,
                sizeof(QueriesMemory<kDim>), stream, work);
}

template <int kDim>
const char* start(Stream stream, const Backward<float>& work) {
  const AttentionInputs<float>& in = work.op.in;
  const uint32_t blocks = uint32_t(blocks_of(in.tokens, FloatTile<kDim>::kRows));
  const uint32_t bytes = sizeof(FloatBackwardMemory<kDim>);
  const char* status = launch(attention_keys_float_kernel<kDim>, {uint32_t(in.kv_heads), blocks},
                              kFloatThreads, bytes, stream, work);
  if (failed(status)) return status;
  return launch(attention_queries_float_kernel<kDim>, {uint32_t(in.heads), blocks}, kFloatThreads,
                bytes, stream, work);
}

}  // namespace

int64_t attention_workspace(int64_t tokens, int64_t heads) {
  const int64_t padded = padded_tokens(tokens);
  return (2 * heads + 2) * padded + padded / kLeastTile * 4;
}

template <class T>
const char* attention_backward(Stream stream, const AttentionBackward<T>& op) {
  const char* problem = check_inputs(op.in);
  if (failed(problem) || op.in.tokens == 0) return problem;
  return with_padded_dim(op.in.head_dim, [&](auto dim) {
    const Backward<T> work = {op, statistics_of(op.workspace, op.in.tokens, op.in.heads),
                              kStreamed<T, dim>};
    const char* status =
        launch(attention_prepare_kernel<T>,
               {uint32_t(work.statistics.padded / kPrepared), uint32_t(op.in.heads)},
               kPrepareThreads, 0, stream, work);
    return failed(status) ? status : start<dim>(stream, work);
  });
}

template const char* attention_backward(Stream, const AttentionBackward<float>&);
template const char* attention_backward(Stream, const AttentionBackward<bf16>&);

}  // namespace rora::cuda
