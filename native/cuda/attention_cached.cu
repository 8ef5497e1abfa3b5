// Attention with a key/value cache: the tokens' keys and values are stored, then tokens attend to
// the cache. Prompts go through the tiles of attention.cu with the cache as keys and values. Single
// tokens would leave 63 of a tile's 64 rows unused; they stream the cache once for up to four query
// heads that share it:
//
//   cache rows of one kv head      A block owns a token, up to 4 query heads of one group, and a
//     | 0 | warp 0, lanes 0..7     part of the token's rows. A few lanes hold a row, 8 features
//     | 1 | warp 0, lanes 8..15    each (4 floats): all multiply, the lanes add up, and every such
//     | : |                        group of lanes keeps a softmax and a sum of its own
//     |16 | warp 0, lanes 0..7     (arXiv:1805.02867), which meet at the end in one order.
//
// With few tokens the rows are divided into parts, so that there are blocks for the whole chip; a
// second kernel combines the parts in order. Traffic: keys and values once per four query heads,
// which is the limit; 4 (head_dim + 2) floats a part. Shared memory 16 (head_dim + 2) floats.
// Reference: cpu/reference/attention.cpp.
#include "cuda/attention_tiles.h"

namespace rora::cuda {
namespace {

constexpr int kHeads = 4;  // of a block: k and v are read once for them
constexpr int kWarps = 4;
constexpr int kThreads = kWarps * kWarp;
constexpr int64_t kPartRows = 256;  // a part has no less rows, or its block is not worth starting
constexpr int64_t kBlocks = 264;    // two for each multiprocessor of a large GPU
constexpr int64_t kMostParts = 32;

// --- Storing: a block copies a token's row, a pair of elements a thread.

template <class T>
__global__ void __launch_bounds__(kThreads) attention_append_kernel(AttentionCached<T> op) {
  const int64_t token = blockIdx.x, width = op.in.kv_heads * op.in.head_dim;
  const int64_t row = int64_t(op.in.begins[token]) + op.in.positions[token];
  for (int64_t i = int64_t(threadIdx.x) * 2; i < width; i += kThreads * 2) {
    float pair[2];
    load(op.new_k + token * op.new_pitch + i, 2, pair);
    store(op.cache_k + row * op.in.kv_pitch + i, 2, pair);
    load(op.new_v + token * op.new_pitch + i, 2, pair);
    store(op.cache_v + row * op.in.kv_pitch + i, 2, pair);
  }
}

// --- Attending.

template <class T, int kDim>
struct Lanes {
  static constexpr int kEach = kPack<T> * kWarp >= kDim ? kPack<T> : kDim / kWarp;
  static constexpr int kPerRow = kDim / kEach;
  static constexpr int kRows = kWarp / kPerRow;  // rows that a warp reads at once
};

// A softmax in progress: the largest score, the sum of exponentials, and that of exponentials times
// values.
template <int kEach>
struct Partial {
  float maximum = kLowestScore, sum = 0.0f;
  float values[kEach] = {};

  // Joins two; the same whichever comes first but for the last bits.
  RORA_DEVICE void join(float other_maximum, float other_sum, const float (&other)[kEach]) {
    const float highest = fmaxf(maximum, other_maximum);
    const float mine = fast_exp2(maximum - highest), theirs = fast_exp2(other_maximum - highest);
    maximum = highest;
    sum = sum * mine + other_sum * theirs;
    RORA_UNROLL
    for (int e = 0; e < kEach; ++e) values[e] = values[e] * mine + other[e] * theirs;
  }
};

template <int kDim>
struct CachedMemory {
  float maximum[kWarps][kHeads], sum[kWarps][kHeads];
  float values[kWarps][kHeads][kDim];
};

// A lane's features of a row; zeros past the head's last.
template <class T, int kEach>
RORA_DEVICE void load_features(const Columns<T>& from, int64_t row, int first, float (&v)[kEach]) {
  const T* source = from.data + row * from.pitch + first;
  if (from.packs) {
    load(source, from.dim - first, v);
  } else {
    RORA_UNROLL
    for (int e = 0; e < kEach; ++e) v[e] = first + e < from.dim ? widen(source[e]) : 0.0f;
  }
}

// Where part `part` of (token, head) leaves its maximum, sum and values.
template <class T>
RORA_DEVICE float* part_of(const AttentionCached<T>& op, int64_t token, int64_t head, int part) {
  return op.workspace + ((token * op.in.heads + head) * op.splits + part) * (op.in.head_dim + 2);
}

template <class T, int kDim>
__global__ void __launch_bounds__(kThreads) attention_cached_kernel(AttentionCached<T> op) {
  using L = Lanes<T, kDim>;
  auto& memory = *shared_memory<CachedMemory<kDim>>();
  const AttentionInputs<T>& in = op.in;
  const int64_t token = blockIdx.x, group = in.heads / in.kv_heads;
  const int64_t passes = (group + kHeads - 1) / kHeads, kv_head = blockIdx.y / passes;
  const int64_t head = kv_head * group + blockIdx.y % passes * kHeads;
  const int64_t left = (kv_head + 1) * group - head;
  const int heads = int(left < kHeads ? left : kHeads);
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int first = lane % L::kPerRow * L::kEach;  // feature

  const float scale = score_scale(in.head_dim) * kLog2E;
  float q[kHeads][L::kEach] = {};
  RORA_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    if (h < heads)
      load_features(head_columns(in.q, in.q_pitch, head + h, in.head_dim), token, first, q[h]);
    RORA_UNROLL
    for (int e = 0; e < L::kEach; ++e) q[h][e] *= scale;
  }

  const auto k = head_columns(in.k, in.kv_pitch, kv_head, in.head_dim);
  const auto v = head_columns(in.v, in.kv_pitch, kv_head, in.head_dim);
  const Range range = range_of(in, token);
  const int64_t rows = int64_t(range.last) - range.first + 1;
  const int64_t part_rows = (rows + op.splits - 1) / op.splits, part_begin = blockIdx.z * part_rows;
  const int64_t part_end = part_begin + part_rows < rows ? part_begin + part_rows : rows;
  Partial<L::kEach> partial[kHeads];
  for (int64_t base = part_begin + warp * L::kRows; base < part_end; base += kWarps * L::kRows) {
    const int64_t row = base + lane / L::kPerRow;
    const bool inside = row < part_end;
    float key[L::kEach] = {}, value[L::kEach] = {};
    if (inside) {
      load_features(k, range.first + row, first, key);
      load_features(v, range.first + row, first, value);
    }
    RORA_UNROLL
    for (int h = 0; h < kHeads; ++h) {
      float score = 0.0f;
      RORA_UNROLL
      for (int e = 0; e < L::kEach; ++e) score += q[h][e] * key[e];
      RORA_UNROLL
      for (int mask = L::kPerRow / 2; mask > 0; mask /= 2) score += shuffle_xor(score, mask);
      if (!inside) score = -INFINITY;
      partial[h].join(score, 1.0f, value);
    }
  }

  RORA_UNROLL
  for (int h = 0; h < kHeads; ++h) {
    RORA_UNROLL
    for (int mask = L::kPerRow; mask < kWarp; mask *= 2) {
      float other[L::kEach];
      const float maximum = shuffle_xor(partial[h].maximum, mask);
      const float sum = shuffle_xor(partial[h].sum, mask);
      RORA_UNROLL
      for (int e = 0; e < L::kEach; ++e) other[e] = shuffle_xor(partial[h].values[e], mask);
      partial[h].join(maximum, sum, other);
    }
    if (lane >= L::kPerRow) continue;
    memory.maximum[warp][h] = partial[h].maximum;
    memory.sum[warp][h] = partial[h].sum;
    RORA_UNROLL
    for (int e = 0; e < L::kEach; ++e) memory.values[warp][h][first + e] = partial[h].values[e];
  }
  block_sync();
  for (int i = int(threadIdx.x); i < heads * int(in.head_dim); i += kThreads) {
    const int h = i / int(in.head_dim), d = i % int(in.head_dim);
    Partial<1> all;
    for (int w = 0; w < kWarps; ++w) {
      const float values[1] = {memory.values[w][h][d]};
      all.join(memory.maximum[w][h], memory.sum[w][h], values);
    }
    if (op.splits == 1) {
      put(op.y[token * op.y_pitch + (head + h) * in.head_dim + d], all.values[0] / all.sum);
      continue;
    }
    float* part = part_of(op, token, head + h, int(blockIdx.z));
    if (d == 0) {
      part[0] = all.maximum;
      part[1] = all.sum;
    }
    part[2 + d] = all.values[0];
  }
}

// A block combines the parts of a (token, head), a feature a thread.
template <class T>
__global__ void __launch_bounds__(kThreads) attention_combine_kernel(AttentionCached<T> op) {
  const int64_t token = blockIdx.x, head = blockIdx.y;
  for (int64_t d = threadIdx.x; d < op.in.head_dim; d += kThreads) {
    Partial<1> all;
    for (int part = 0; part < op.splits; ++part) {
      const float* from = part_of(op, token, head, part);
      const float values[1] = {from[2 + d]};
      all.join(from[0], from[1], values);
    }
    put(op.y[token * op.y_pitch + head * op.in.head_dim + d], all.values[0] / all.sum);
  }
}

template <class T>
const char* attend(Stream stream, const AttentionCached<T>& op) {
  const AttentionInputs<T>& in = op.in;
  const int64_t passes = blocks_of(in.heads / in.kv_heads, kHeads);
  const char* status = with_padded_dim(in.head_dim, [&](auto dim) {
    return launch(attention_cached_kernel<T, dim>,
                  {uint32_t(in.tokens), uint32_t(in.kv_heads * passes), uint32_t(op.splits)},
                  kThreads, sizeof(CachedMemory<dim>), stream, op);
  });
  if (failed(status) || op.splits == 1) return status;
  return launch(attention_combine_kernel<T>, {uint32_t(in.tokens), uint32_t(in.heads)}, kThreads, 0,
                stream, op);
}

}  // namespace

int32_t attention_splits(int64_t tokens, int64_t kv_heads, int64_t rows) {
  const int64_t blocks = tokens * kv_heads;
  int64_t splits = blocks > 0 ? blocks_of(kBlocks, blocks) : 1;
  if (splits > rows / kPartRows) splits = rows / kPartRows;
  if (splits > kMostParts) splits = kMostParts;
  return int32_t(splits < 1 ? 1 : splits);
}

int64_t attention_cached_workspace(int64_t tokens, int64_t heads, int64_t head_dim,
                                   int32_t splits) {
  return splits == 1 ? 0 : tokens * heads * splits * (head_dim + 2);
}

bool attention_prefers_tiles(int64_t tokens, const int32_t* begins, const int32_t* positions) {
  // A row costs a tile of 64 tokens about as much as it costs 8 tokens on their own.
  constexpr int64_t kTile = 64, kWorth = 8;
  int64_t by_tiles = 0, by_tokens = 0;
  for (int64_t t0 = 0; t0 < tokens; t0 += kTile) {
    for (int64_t t = t0; t < tokens && t < t0 + kTile; ++t) {
      const int64_t rows = int64_t(positions[t]) + 1;
      by_tokens += rows;
      // Tokens of a document stand together, the one with the most rows last.
      if (t + 1 == tokens || t + 1 == t0 + kTile || begins[t + 1] != begins[t])
        by_tiles += (rows + kTile - 1) / kTile * kTile;
    }
  }
  return by_tiles * kWorth < by_tokens;
}

template <class T>
const char* attention_cached(Stream stream, const AttentionCached<T>& op) {
  const char* status = check_inputs(op.in);
  if (failed(status) || op.in.tokens == 0) return status;
  AttentionCached<T> whole = op;
  whole.in.k = op.cache_k, whole.in.v = op.cache_v;
  status = launch(attention_append_kernel<T>, {uint32_t(op.in.tokens)}, kThreads, 0, stream, whole);
  if (failed(status)) return status;
  if (op.tiles)
    return attention_forward(stream, AttentionForward<T>{whole.in, op.y, op.y_pitch, nullptr, 0});
  return attend(stream, whole);
}

template const char* attention_cached(Stream, const AttentionCached<float>&);
template const char* attention_cached(Stream, const AttentionCached<bf16>&);

}  // namespace rora::cuda
