// Attention, forward pass:  y = softmax(q k^T / sqrt(head_dim)) v over the rows that a token
// attends to (arXiv:1706.03762, eq. 1), with the softmax online over tiles of keys
// (arXiv:2205.14135, algorithm 1; arXiv:2307.08691). Reference: cpu/reference/attention.cpp.
//
//        keys   0    64  128       A block owns 64 queries of one head and walks the tiles of 64
//   queries 0   | \ |    |    |    keys that some of them attend to: none after the last query's
//          64   |###| \  |    |    last row, nor of other documents. The longest walks start
//         128   |###|####| \  |    first.
//
//   warp w: 16 queries   | s = q k^T [16 x 64] | p = 2^(s c - m) | y += p v [16 x head_dim] |
//
// s, m, the sum and y stay in registers; p is rounded to bf16 and is the next product's operand as
// it lies there. K and V are in flight in turn: V of this tile while s is computed, K of the next
// while y is. Tiles are copied by cp.async and swizzled, so that no ldmatrix meets a bank twice.
//
// Traffic: q, y and lse once; k and v once per 64 queries of each head, from the L2 cache as the
// blocks that share them run together: 64 FLOP a byte. Shared memory 3 tiles of 64 x head_dim and
// 512 bytes: 24.5 KB at 64, 48.5 KB at 128 (two blocks on every architecture). Registers: 131 at
// most at 64, 169 at 128. At 256 a step is 32 keys: 64.5 KB.
#include "cuda/attention_tiles.h"

namespace rora::cuda {
namespace {

constexpr int kQueries = 64;  // of a block
constexpr int kThreads = kQueries / 16 * kWarp;
// Of a step. y alone takes 128 registers of 255 at head_dim 256, scores of 64 keys would spill.
template <int kDim>
constexpr int kKeys = kDim <= 128 ? 64 : 32;

template <int kDim>
struct ForwardMemory {
  alignas(128) bf16 q[kQueries * kDim], k[kKeys<kDim> * kDim], v[kKeys<kDim> * kDim];
  Range ranges[kQueries];
};

// The running softmax of rows g and g + 8 of a warp; four lanes share a row.
struct Softmax {
  float maximum[2] = {kLowestScore, kLowestScore};
  float sum[2] = {};  // this lane's part

  // Scores become exponentials of what they are below the maximum; returns what sums of earlier
  // exponentials must be multiplied with.
  template <int N>
  RORA_DEVICE void step(float (&s)[N][4], float scale, float (&factor)[2]) {
    RORA_UNROLL
    for (int half = 0; half < 2; ++half) {
      float highest = maximum[half];
      RORA_UNROLL
      for (int n = 0; n < N; ++n)
        highest = fmaxf(highest, fmaxf(s[n][half * 2], s[n][half * 2 + 1]));
      highest = fmaxf(highest, shuffle_xor(highest, 1));
      highest = fmaxf(highest, shuffle_xor(highest, 2));
      factor[half] = fast_exp2((maximum[half] - highest) * scale);  // 1 if it is still the maximum
      maximum[half] = highest;
      sum[half] *= factor[half];
      const float shift = highest * scale;
      RORA_UNROLL
      for (int n = 0; n < N; ++n) {
        RORA_UNROLL
        for (int i = half * 2; i < half * 2 + 2; ++i) {
          s[n][i] = fast_exp2(fmaf(s[n][i], scale, -shift));
          sum[half] += s[n][i];
        }
      }
    }
  }
};

// Scores of keys that a row does not attend to become -infinity.
template <int N>
RORA_DEVICE void mask_scores(float (&s)[N][4], const Range (&range)[2], int32_t key) {
  RORA_UNROLL
  for (int n = 0; n < N; ++n) {
    RORA_UNROLL
    for (int i = 0; i < 4; ++i)
      if (!range[i / 2].holds(key + n * 8 + i % 2)) s[n][i] = -INFINITY;
  }
}

template <int kDim>
__global__ void __launch_bounds__(kThreads) attention_forward_kernel(AttentionForward<bf16> op) {
  constexpr int kTile = kKeys<kDim>;
  auto& memory = *shared_memory<ForwardMemory<kDim>>();
  const AttentionInputs<bf16>& in = op.in;
  const int64_t head = blockIdx.x, kv_head = head / (in.heads / in.kv_heads);
  const int64_t token = int64_t(gridDim.y - 1 - blockIdx.y) * kQueries;
  const int warp = int(threadIdx.x) / kWarp, g = int(threadIdx.x) % kWarp / 4;
  const int t = int(threadIdx.x) % 4;
  const int64_t rows = in.tokens - token;
  const auto q = head_columns(in.q, in.q_pitch, head, in.head_dim);
  const auto k = head_columns(in.k, in.kv_pitch, kv_head, in.head_dim);
  const auto v = head_columns(in.v, in.kv_pitch, kv_head, in.head_dim);

  copy_tile<kDim, kQueries, kThreads>(memory.q, q, token, [&](int r) { return r < rows; });
  // Rows past the last token do as it does and are not stored.
  if (threadIdx.x < kQueries)
    memory.ranges[threadIdx.x] =
        range_of(in, token + (threadIdx.x < rows ? threadIdx.x : rows - 1));
  block_sync();
  const Cover all = cover_of(memory.ranges, kQueries);
  const Cover mine = cover_of(memory.ranges + warp * 16, 16);
  const Range range[2] = {memory.ranges[warp * 16 + g], memory.ranges[warp * 16 + g + 8]};

  const float scale = score_scale(in.head_dim) * kLog2E;
  float y[kDim / 8][4] = {};
  Softmax softmax;
  KeyTile tile = next_tile<kTile, kQueries>(all, memory.ranges, all.min_first);
  copy_tile<kDim, kTile, kThreads>(memory.k, k, tile.row,
                                   [&](int r) { return is_attended(tile, r); });
  copy_commit();
  while (tile.row <= all.max_last) {
    copy_wait<0>();
    block_sync();  // k is there, nobody still reads v
    copy_tile<kDim, kTile, kThreads>(memory.v, v, tile.row,
                                     [&](int r) { return is_attended(tile, r); });
    copy_commit();
    const bool busy = mine.meets(tile.row, kTile);
    float s[kTile / 8][4] = {};
    if (busy) {
      multiply_transposed<kDim>(s, memory.q, warp * 16, memory.k);
      if (!mine.all_hold(tile.row, kTile)) mask_scores(s, range, tile.row + t * 2);
      float factor[2];
      softmax.step(s, scale, factor);
      RORA_UNROLL
      for (int c = 0; c < kDim / 8; ++c) {
        RORA_UNROLL
        for (int i = 0; i < 4; ++i) y[c][i] *= factor[i / 2];
      }
    }
    copy_wait<0>();
    block_sync();  // v is there, nobody still reads k
    tile = next_tile<kTile, kQueries>(all, memory.ranges, tile.row + kTile);
    if (tile.row <= all.max_last)
      copy_tile<kDim, kTile, kThreads>(memory.k, k, tile.row,
                                       [&](int r) { return is_attended(tile, r); });
    copy_commit();
    if (busy) multiply<kDim, kTile / 8, kDim>(y, s, memory.v, 0);
  }

  float inverse[2];
  RORA_UNROLL
  for (int half = 0; half < 2; ++half) {
    float sum = softmax.sum[half];
    sum += shuffle_xor(sum, 1);
    sum += shuffle_xor(sum, 2);
    inverse[half] = 1.0f / sum;
    const int row = warp * 16 + g + half * 8;
    if (op.lse != nullptr && t == 0 && row < rows)
      op.lse[head * op.lse_pitch + token + row] =
          softmax.maximum[half] * score_scale(in.head_dim) + logf(sum);
  }
  store_sum<kDim>(op.y + (token + warp * 16) * op.y_pitch + head * in.head_dim, op.y_pitch,
                  rows - warp * 16, int(in.head_dim), y, inverse);
}

// --- float: the same walk with tiles of 32 x 32 (16 x 16 for head_dim 256) and plain
// multiplications; scores go through shared memory. 55.4 KB at head_dim 128.

template <int kDim>
struct FloatForwardMemory {
  FloatTile<kDim> q, k, v;
  FloatScores<FloatTile<kDim>::kRows> p;
  Range ranges[FloatTile<kDim>::kRows];
};

// The largest, or the sum, over the 16 threads of a row.
RORA_DEVICE float row_max(float value) {
  for (int mask = 8; mask > 0; mask /= 2) value = fmaxf(value, shuffle_xor(value, mask));
  return value;
}
RORA_DEVICE float row_sum(float value) {
  for (int mask = 8; mask > 0; mask /= 2) value += shuffle_xor(value, mask);
  return value;
}

template <int kDim>
__global__ void __launch_bounds__(kFloatThreads, 2)
    attention_forward_float_kernel(AttentionForward<float> op) {
  using Tile = FloatTile<kDim>;
  constexpr int kRows = Tile::kRows, kEach = Tile::kEach;
  auto& memory = *shared_memory<FloatForwardMemory<kDim>>();
  const AttentionInputs<float>& in = op.in;
  const int64_t head = blockIdx.x, kv_head = head / (in.heads / in.kv_heads);
  const int64_t token = int64_t(gridDim.y - 1 - blockIdx.y) * kRows;
  const int64_t rows = in.tokens - token;
  const int x = int(threadIdx.x) % 16, y = int(threadIdx.x) / 16;
  const auto k = head_columns(in.k, in.kv_pitch, kv_head, in.head_dim);
  const auto v = head_columns(in.v, in.kv_pitch, kv_head, in.head_dim);

  load_tile(memory.q, head_columns(in.q, in.q_pitch, head, in.head_dim), token,
            [&](int r) { return r < rows; });
  if (threadIdx.x < kRows)
    memory.ranges[threadIdx.x] =
        range_of(in, token + (threadIdx.x < rows ? threadIdx.x : rows - 1));
  block_sync();
  const Cover all = cover_of(memory.ranges, kRows);

  const float scale = score_scale(in.head_dim) * kLog2E;
  float sum[kEach][Tile::kColumns] = {}, maximum[kEach], total[kEach] = {};
  for (int i = 0; i < kEach; ++i) maximum[i] = kLowestScore;
  for (KeyTile tile = next_tile<kRows, kRows>(all, memory.ranges, all.min_first);
       tile.row <= all.max_last;
       tile = next_tile<kRows, kRows>(all, memory.ranges, tile.row + kRows)) {
    const auto attended = [&](int r) { return is_attended(tile, r); };
    load_tile(memory.k, k, tile.row, attended);
    load_tile(memory.v, v, tile.row, attended);
    block_sync();  // the tiles are complete
    float s[kEach][kEach];
    multiply_transposed(s, memory.q, memory.k);
    RORA_UNROLL
    for (int i = 0; i < kEach; ++i) {
      const Range range = memory.ranges[y * kEach + i];
      float highest = maximum[i];
      RORA_UNROLL
      for (int j = 0; j < kEach; ++j) {
        if (!range.holds(tile.row + x + 16 * j)) s[i][j] = -INFINITY;
        highest = fmaxf(highest, s[i][j]);
      }
      highest = row_max(highest);
      const float factor = fast_exp2((maximum[i] - highest) * scale);
      maximum[i] = highest;
      total[i] *= factor;
      RORA_UNROLL
      for (int j = 0; j < kEach; ++j) {
        const float p = fast_exp2((s[i][j] - highest) * scale);
        total[i] += p;
        memory.p.at[y * kEach + i][x + 16 * j] = p;
      }
      RORA_UNROLL
      for (int c = 0; c < Tile::kColumns; ++c) sum[i][c] *= factor;
    }
    warp_sync();  // p is complete for the rows of the warp
    multiply<kDim>(sum, memory.p, memory.v);
    block_sync();  // nobody still reads the tiles
  }

  RORA_UNROLL
  for (int i = 0; i < kEach; ++i) {
    const float all_threads = row_sum(total[i]);
    const int64_t row = token + y * kEach + i;
    if (row >= in.tokens) continue;
    store_row<kDim>(op.y + row * op.y_pitch + head * in.head_dim, int(in.head_dim), sum[i],
                    1.0f / all_threads);
    if (op.lse != nullptr && x == 0)
      op.lse[head * op.lse_pitch + row] = maximum[i] * score_scale(in.head_dim) + logf(all_threads);
  }
}

const char* start(Stream stream, const AttentionForward<bf16>& op) {
  return with_padded_dim(op.in.head_dim, [&](auto dim) {
    return launch(attention_forward_kernel<dim>,
                  {uint32_t(op.in.heads), uint32_t(blocks_of(op.in.tokens, kQueries))}, kThreads,
                  sizeof(ForwardMemory<dim>), stream, op);
  });
}

const char* start(Stream stream, const AttentionForward<float>& op) {
  return with_padded_dim(op.in.head_dim, [&](auto dim) {
    return launch(attention_forward_float_kernel<dim>,
                  {uint32_t(op.in.heads), uint32_t(blocks_of(op.in.tokens, FloatTile<dim>::kRows))},
                  kFloatThreads, sizeof(FloatForwardMemory<dim>), stream, op);
  });
}

}  // namespace

template <class T>
const char* attention_forward(Stream stream, const AttentionForward<T>& op) {
  const char* status = check_inputs(op.in);
  if (failed(status) || op.in.tokens == 0) return status;
  return start(stream, op);
}

template const char* attention_forward(Stream, const AttentionForward<float>&);
template const char* attention_forward(Stream, const AttentionForward<bf16>&);

}  // namespace rora::cuda
