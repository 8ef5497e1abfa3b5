// The tiled product behind every linear operator (gemm.cu, skinny.cu):
//
//   C[m, n] = sum over segments s and their k of A_s(m, k) B_s(k, n),  then an epilogue.
//
// A launch computes up to four parts, outputs with their own segments, so a group of projections
// that share X is one launch, and a low-rank slab is one more segment of the same reduction:
// [X | H'] [W | B]^T. The k-tile's segment gives the pointers; nothing else in the main loop knows.
//
//                 B_0 | B_1      A block owns a kM x kN tile of a part. Its k-tiles of both
//                 operands
//                  n     n       pass through kStages stages of shared memory, written by cp.async
//        k                       in chunks of 16 bytes, zeros outside of the matrices. The chunks
//        of
//     A_0 | A_1                  a row are permuted by an exclusive or with the row's number, so
//   m xxxx|h ->     C            that every read and write of a tile touches all banks once.
//
// Blocks run through groups of 8 m-tiles, all n-tiles of a group before the next, so that what a
// wave of blocks reads stays in the second level cache. Few tiles are spread over slices of the
// k-tiles: each slice writes its sums to a workspace, and a second kernel adds them in order.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"
#include "cuda/philox.h"
#include "cuda/rows.h"

namespace rora::cuda {

constexpr int kMaxParts = 4, kMaxSegments = 12;

// How the operands lie in memory: A [m, k] and B [n, k], A [m, k] and B [k, n], A [k, m] and B
// [k, n].
enum class Layout { kNT, kNN, kTN };

// What segments may ask for beyond a product: kTouched, that tiles are changed between their
// arrival and their use, by the threads that copied them; kApart, that and sums of their own.
enum class Extras { kNone, kTouched, kApart };

template <class T>
struct Segment {
  const T* a = nullptr;
  const T* b = nullptr;
  int64_t a_pitch = 0, b_pitch = 0;
  int32_t k = 0;                          // > 0
  bool a_packs = false, b_packs = false;  // rows are aligned to 16 bytes
  // kTouched. A(m, k) is multiplied by scale[k] + scale_offset, if scale is not NULL.
  const float* scale = nullptr;
  float scale_offset = 0.0f;
  // What dropout sets to 0: elements of A, by (m, k), or of B, by (k, n), each (token, feature).
  bool drops_a = false, drops_b = false;
  // kApart. C += column_factor (column_scale[n] + column_offset) times the segment's own sum,
  // without the parenthesis if column_scale is NULL. With drops_c also times dropout's factor of
  // (m, n), 0 or its scale.
  bool apart = false, drops_c = false;
  const float* column_scale = nullptr;
  float column_offset = 0.0f, column_factor = 1.0f;
  Dropout dropout;
};

template <class Out>
struct Part {
  Out* out = nullptr;
  const Out* residual = nullptr;  // added if not NULL; may be `out`
  int64_t out_pitch = 0, residual_pitch = 0;
  // out = (factor row_scale[m] column_scale[n]) sum + bias[n] + residual; NULL is left out.
  float factor = 1.0f;
  const float* row_scale = nullptr;
  const float* column_scale = nullptr;
  const float* bias = nullptr;
  int32_t m = 0, n = 0;
  int32_t segment = 0, segments = 0;  // first and number of the product's
  // Set by the host functions below.
  int32_t n_tiles = 0;
  bool packs = false;    // rows of out and residual are aligned to 16 bytes
  int64_t partials = 0;  // offset in a slice
};

template <class T, class Out>
struct Product {
  Segment<T> segment[kMaxSegments];
  Part<Out> part[kMaxParts];
  int32_t parts = 0;
  const int32_t* order = nullptr;  // of tokens, for dropout
  float* workspace = nullptr;
  int64_t workspace_floats = 0;
  // Set by the host functions below.
  int32_t m_tiles = 0, n_tiles = 0, slices = 1;
  int64_t slice_floats = 0;
};

// -------------------------------------------------------------------------------------------------
// Tiles in shared memory

// kRows rows of kColumns elements in chunks of 16 bytes.
template <class T, int kRows_, int kColumns_>
struct Tile {
  static constexpr int kRows = kRows_, kColumns = kColumns_;
  static constexpr int kChunk = kPack<T>;
  static constexpr int kChunks = kColumns / kChunk;
  static constexpr int kElements = kRows * kColumns;
  static_assert(kChunks == 4 || kChunks % 8 == 0);

  // Eight rows fill the banks at each chunk; rows of 64 bytes in pairs.
  static RORA_DEVICE int at(int row, int chunk) {
    const int turn = kChunks == 4 ? (row >> 1) & 3 : row & 7;
    return (row * kChunks + (chunk ^ turn)) * kChunk;
  }
};

// Starts copying a tile from `source`, of which `rows` rows and `columns` columns exist (more than
// the tile has, or less than one, are fine); zeros beyond. Chunks that are not whole or not aligned
// are copied by elements, at once.
template <int kThreads, class T, int kRows, int kColumns>
RORA_DEVICE void copy_tile(Tile<T, kRows, kColumns>, T* tile, const T* source, int64_t pitch,
                           int rows, int columns, bool packs, const T* anywhere) {
  using Shape = Tile<T, kRows, kColumns>;
  constexpr int kTotal = kRows * Shape::kChunks;
  constexpr int kRowStep = kThreads / Shape::kChunks;
  static_assert(kTotal % kThreads == 0 && kThreads % Shape::kChunks == 0);
  if (packs && (columns >= kColumns || columns % Shape::kChunk == 0)) {
    const int chunk = int(threadIdx.x % Shape::kChunks);
    int row = int(threadIdx.x / Shape::kChunks);
    source += row * pitch + chunk * Shape::kChunk;
    if (chunk * Shape::kChunk >= columns) rows = 0;
    RORA_UNROLL
    for (int i = 0; i < kRows / kRowStep; ++i) {
      const bool valid = row < rows;
      copy_async_16(tile + Shape::at(row, chunk), valid ? source : anywhere, valid);
      row += kRowStep;
      source += kRowStep * pitch;
    }
    return;
  }
  for (int index = int(threadIdx.x); index < kTotal; index += kThreads) {
    const int row = index / Shape::kChunks, chunk = index % Shape::kChunks;
    const int left = row < rows ? columns - chunk * Shape::kChunk : 0;
    T element[Shape::kChunk];
    RORA_UNROLL
    for (int i = 0; i < Shape::kChunk; ++i)
      element[i] = i < left ? source[row * pitch + chunk * Shape::kChunk + i] : T(0);
    Bytes<16> bytes;
    memcpy(&bytes, element, sizeof bytes);
    *reinterpret_cast<Bytes<16>*>(tile + Shape::at(row, chunk)) = bytes;
  }
}

// Calls change(element array, row, first column) for the chunks that copy_tile gave this thread.
template <int kThreads, class T, int kRows, int kColumns, class Change>
RORA_DEVICE void touch_tile(Tile<T, kRows, kColumns>, T* tile, int rows, int columns,
                            const Change& change) {
  using Shape = Tile<T, kRows, kColumns>;
  for (int index = int(threadIdx.x); index < kRows * Shape::kChunks; index += kThreads) {
    const int row = index / Shape::kChunks, chunk = index % Shape::kChunks;
    if (row >= rows || chunk * Shape::kChunk >= columns) continue;
    auto* const place = reinterpret_cast<Bytes<16>*>(tile + Shape::at(row, chunk));
    const Bytes<16> before = *place;
    T element[Shape::kChunk];
    memcpy(element, &before, sizeof before);
    change(element, row, chunk * Shape::kChunk);
    Bytes<16> after;
    memcpy(&after, element, sizeof after);
    *place = after;
  }
}

template <int kThreads, class T, class Shape>
RORA_DEVICE void scale_tile(Shape shape, T* tile, const float* scale, float offset, int rows,
                            int columns) {
  touch_tile<kThreads>(shape, tile, rows, columns,
                       [=](T(&element)[Shape::kChunk], int, int column) {
                         RORA_UNROLL
                         for (int i = 0; i < Shape::kChunk; ++i)
                           if (column + i < columns)
                             put(element[i], widen(element[i]) * (scale[column + i] + offset));
                       });
}

// The tile's rows are the tokens from `token` on, its columns the features from `feature` on.
template <int kThreads, class T, class Shape>
RORA_DEVICE void drop_tile(Shape shape, T* tile, const Dropout& dropout, const int32_t* order,
                           int token, int feature, int rows, int columns) {
  touch_tile<kThreads>(
      shape, tile, rows, columns, [&](T(&element)[Shape::kChunk], int row, int column) {
        RORA_UNROLL
        for (int i = 0; i < Shape::kChunk; i += 4) {
          uint32_t word[4];
          philox(dropout.seed, uint32_t(order[token + row]), uint32_t(feature + column + i) >> 2,
                 dropout.stream, dropout.step, word);
          RORA_UNROLL
          for (int j = 0; j < 4; ++j)
            if (word[j] < dropout.threshold) element[i + j] = T(0);
        }
      });
}

// -------------------------------------------------------------------------------------------------
// Which tile a block has, and the walk along its reduction

struct Place {
  int part, m, n;  // first row and column of the tile
};

template <int kM, int kN, class T, class Out>
RORA_DEVICE Place place_of_block(const Product<T, Out>& op) {
  constexpr int kGroup = 8;  // m-tiles
  const int in_group = kGroup * op.n_tiles;
  const int first = int(blockIdx.x) / in_group * kGroup;
  const int height = op.m_tiles - first < kGroup ? op.m_tiles - first : kGroup;
  const int inside = int(blockIdx.x) % in_group;
  int n_tile = inside / height, part = 0;
  while (n_tile >= op.part[part].n_tiles) n_tile -= op.part[part++].n_tiles;
  return {part, (first + inside % height) * kM, n_tile * kN};
}

// A k-tile of the product: from column k on of a segment.
template <int kK>
struct Walk {
  int segment, k;

  template <class T, class Out>
  RORA_DEVICE void next(const Product<T, Out>& op) {
    k += kK;
    if (k >= op.segment[segment].k) ++segment, k = 0;
  }
};

// The k-tiles of the block's slice: where they start and how many they are.
template <int kK>
struct Slice {
  Walk<kK> start;
  int tiles;

  template <class T, class Out>
  RORA_DEVICE Slice(const Product<T, Out>& op, const Part<Out>& part)
      : start{part.segment, 0}, tiles(0) {
    for (int s = 0; s < part.segments; ++s) tiles += (op.segment[part.segment + s].k + kK - 1) / kK;
    if (op.slices == 1) return;
    const int share = (tiles + op.slices - 1) / op.slices;
    const int first = int(blockIdx.y) * share;
    int skipped = first;
    for (int i = 1; i < part.segments; ++i) {
      const int whole = (op.segment[start.segment].k + kK - 1) / kK;
      if (skipped < whole) break;
      skipped -= whole, ++start.segment;
    }
    start.k = skipped * kK;
    tiles = tiles - first < share ? tiles - first : share;
  }
};

// Both operands' tiles of one stage.
template <class T, class Shape, Layout kLayout>
struct Stage {
  static constexpr bool kTransposedA = kLayout == Layout::kTN;
  static constexpr bool kTransposedB = kLayout != Layout::kNT;
  using A = Tile<T, kTransposedA ? Shape::kK : Shape::kM, kTransposedA ? Shape::kM : Shape::kK>;
  using B = Tile<T, kTransposedB ? Shape::kK : Shape::kN, kTransposedB ? Shape::kN : Shape::kK>;
  static constexpr int kElements = A::kElements + B::kElements;
  static constexpr uint32_t kBytes = Shape::kStages * kElements * sizeof(T);

  T* a;
  T* b;
  RORA_DEVICE explicit Stage(T* shared, int number)
      : a(shared + number * kElements), b(a + A::kElements) {}

  template <class Out>
  RORA_DEVICE void copy(const Product<T, Out>& op, const Place& place, const Walk<Shape::kK>& at) {
    const Segment<T>& s = op.segment[at.segment];
    const int m = op.part[place.part].m - place.m, n = op.part[place.part].n - place.n;
    const int k = s.k - at.k;
    if constexpr (kTransposedA)
      copy_tile<Shape::kThreads>(A(), a, s.a + at.k * s.a_pitch + place.m, s.a_pitch, k, m,
                                 s.a_packs, s.a);
    else
      copy_tile<Shape::kThreads>(A(), a, s.a + place.m * s.a_pitch + at.k, s.a_pitch, m, k,
                                 s.a_packs, s.a);
    if constexpr (kTransposedB)
      copy_tile<Shape::kThreads>(B(), b, s.b + at.k * s.b_pitch + place.n, s.b_pitch, k, n,
                                 s.b_packs, s.b);
    else
      copy_tile<Shape::kThreads>(B(), b, s.b + place.n * s.b_pitch + at.k, s.b_pitch, n, k,
                                 s.b_packs, s.b);
  }

  template <class Out>
  RORA_DEVICE void touch(const Product<T, Out>& op, const Place& place, const Walk<Shape::kK>& at) {
    const Segment<T>& s = op.segment[at.segment];
    const int m = op.part[place.part].m - place.m, n = op.part[place.part].n - place.n;
    const int k = s.k - at.k;
    if constexpr (!kTransposedA) {
      if (s.scale) scale_tile<Shape::kThreads>(A(), a, s.scale + at.k, s.scale_offset, m, k);
      if (s.drops_a) drop_tile<Shape::kThreads>(A(), a, s.dropout, op.order, place.m, at.k, m, k);
    }
    if constexpr (kTransposedB)
      if (s.drops_b) drop_tile<Shape::kThreads>(B(), b, s.dropout, op.order, at.k, place.n, k, n);
  }
};

// -------------------------------------------------------------------------------------------------
// Epilogue

template <class Out>
RORA_DEVICE float finished(const Part<Out>& part, int m, int n, float sum) {
  sum *= part.factor;
  if (part.row_scale) sum *= part.row_scale[m];
  if (part.column_scale) sum *= part.column_scale[n];
  if (part.bias) sum += part.bias[n];
  return sum;
}

constexpr int kStrip = 8;  // columns that a lane finishes together

RORA_DEVICE int64_t partial_pitch(int n) { return (n + kStrip - 1) / kStrip * kStrip; }

template <class Out>
RORA_DEVICE void finish_strip(const Part<Out>& part, int m, int n, float (&sum)[kStrip]) {
  const int count = part.n - n;
  Out* const out = part.out + m * part.out_pitch + n;
  const Out* const residual = part.residual ? part.residual + m * part.residual_pitch + n : nullptr;
  RORA_UNROLL
  for (int i = 0; i < kStrip; ++i)
    if (i < count) sum[i] = finished(part, m, n + i, sum[i]);
  if (part.packs && count >= kStrip) {
    if (residual) {
      float more[kStrip];
      load(residual, kStrip, more);
      RORA_UNROLL
      for (int i = 0; i < kStrip; ++i) sum[i] += more[i];
    }
    store(out, kStrip, sum);
    return;
  }
  RORA_UNROLL
  for (int i = 0; i < kStrip; ++i)
    if (i < count) put(out[i], residual ? sum[i] + widen(residual[i]) : sum[i]);
}

template <class T, class Out>
RORA_DEVICE float* partial(const Product<T, Out>& op, const Part<Out>& part, int slice, int m,
                           int n) {
  return op.workspace + slice * op.slice_floats + part.partials + m * partial_pitch(part.n) + n;
}

// 8 neighbouring sums of one row, from a column that is a multiple of 8 on.
template <class T, class Out>
RORA_DEVICE void write_strip(const Product<T, Out>& op, const Part<Out>& part, int m, int n,
                             float (&sum)[kStrip]) {
  if (m >= part.m || n >= part.n) return;
  if (op.slices > 1)
    store(partial(op, part, int(blockIdx.y), m, n), kStrip, sum);
  else
    finish_strip(part, m, n, sum);
}

template <class T, class Out>
RORA_DEVICE void write_one(const Product<T, Out>& op, const Part<Out>& part, int m, int n,
                           float sum) {
  if (m >= part.m || n >= part.n) return;
  if (op.slices > 1) {
    *partial(op, part, int(blockIdx.y), m, n) = sum;
    return;
  }
  sum = finished(part, m, n, sum);
  if (part.residual) sum += widen(part.residual[m * part.residual_pitch + n]);
  put(part.out[m * part.out_pitch + n], sum);
}

constexpr int kReduceThreads = 256;

// The slices' sums, added in order; a thread has a strip. Traffic: the workspace once, the outputs.
template <class T, class Out>
__global__ void __launch_bounds__(kReduceThreads, 4) product_reduce_kernel(Product<T, Out> op) {
  const Part<Out>& part = op.part[blockIdx.y];
  const int64_t index = int64_t(blockIdx.x) * kReduceThreads + threadIdx.x;
  const int strips = int(partial_pitch(part.n) / kStrip);
  const int m = int(index / strips), n = int(index % strips) * kStrip;
  if (m >= part.m) return;
  float sum[kStrip] = {};
  for (int slice = 0; slice < op.slices; ++slice) {
    const float* const source = partial(op, part, slice, m, n);
    RORA_UNROLL
    for (int i = 0; i < kStrip; ++i)
      if (n + i < part.n) sum[i] += source[i];
  }
  finish_strip(part, m, n, sum);
}

// -------------------------------------------------------------------------------------------------
// bf16: tensor cores

template <int kM_, int kN_, int kK_, int kWarpM_, int kWarpN_, int kStages_>
struct MmaShape {
  static constexpr int kM = kM_, kN = kN_, kK = kK_, kWarpM = kWarpM_, kWarpN = kWarpN_;
  static constexpr int kStages = kStages_;
  static constexpr int kThreads = kM / kWarpM * (kN / kWarpN) * kWarp;
  static constexpr int kSteps = kK / 16;
  static_assert(kSteps % 2 == 0 && kWarpN % 32 == 0);
};

// Where a lane finds its row of the first matrices of both operands in a stage. The other matrices
// of a warp's tile are a constant away: chunks by an exclusive or, which the permutation of the
// chunks lets through, rows, whole groups of 16, by an addition.
template <class Shape, Layout kLayout>
struct LaneRows {
  using S = Stage<bf16, Shape, kLayout>;
  int a, b;

  RORA_DEVICE LaneRows(int warp_m, int warp_n) {
    const int lane = int(threadIdx.x) % kWarp, row = lane % 8, matrix = lane / 8;
    const int low = matrix % 2, high = matrix / 2;
    a = S::kTransposedA ? S::A::at(high * 8 + row, warp_m / 8 + low)
                        : S::A::at(warp_m + low * 8 + row, high);
    b = S::kTransposedB ? S::B::at(low * 8 + row, warp_n / 8 + high)
                        : S::B::at(warp_n + high * 8 + row, low);
  }
};

// A warp's operands of one step of 16.
template <class Shape, Layout kLayout>
struct Fragments {
  uint32_t a[Shape::kWarpM / 16][4], b[Shape::kWarpN / 16][4];

  RORA_DEVICE void load(const Stage<bf16, Shape, kLayout>& stage,
                        const LaneRows<Shape, kLayout>& rows, int step) {
    using S = Stage<bf16, Shape, kLayout>;
    constexpr int kRowsA = 16 * S::A::kColumns, kRowsB = 16 * S::B::kColumns;  // 16 rows
    constexpr int kTwo = 2 * S::A::kChunk;                                     // two chunks
    RORA_UNROLL
    for (int i = 0; i < Shape::kWarpM / 16; ++i)
      if constexpr (S::kTransposedA)
        load_matrices_transposed(a[i], stage.a + step * kRowsA + (rows.a ^ (i * kTwo)));
      else
        load_matrices(a[i], stage.a + i * kRowsA + (rows.a ^ (step * kTwo)));
    RORA_UNROLL
    for (int j = 0; j < Shape::kWarpN / 16; ++j)
      if constexpr (S::kTransposedB)
        load_matrices_transposed(b[j], stage.b + step * kRowsB + (rows.b ^ (j * kTwo)));
      else
        load_matrices(b[j], stage.b + j * kRowsB + (rows.b ^ (step * kTwo)));
  }

  RORA_DEVICE void multiply(float (&sum)[Shape::kWarpM / 16][Shape::kWarpN / 8][4]) const {
    RORA_UNROLL
    for (int i = 0; i < Shape::kWarpM / 16; ++i) RORA_UNROLL
    for (int j = 0; j < Shape::kWarpN / 8; ++j)
      multiply_add(sum[i][j], a[i], b[j / 2][j % 2 * 2], b[j / 2][j % 2 * 2 + 1]);
  }
};

// Of four neighbouring 8-column tiles a lane holds columns 2 t, 2 t + 1 of each, with t = lane % 4;
// afterwards it holds all 8 of tile t.
RORA_DEVICE void exchange_in_quad(float (&pair)[4][2]) {
  const int t = int(threadIdx.x) % 4;
  RORA_UNROLL
  for (int mask = 1; mask <= 2; mask *= 2) RORA_UNROLL
  for (int i = 0; i < 4; ++i)
    if ((i & mask) == 0) RORA_UNROLL
  for (int e = 0; e < 2; ++e) {
    float &low = pair[i][e], &high = pair[i + mask][e];
    const float received = shuffle_xor(t & mask ? low : high, mask);
    if (t & mask)
      low = received;
    else
      high = received;
  }
}

// The factor of C(m, n) of a segment apart but for dropout.
template <class T>
RORA_DEVICE float column_factor(const Segment<T>& segment, int n, int width) {
  const float scale =
      segment.column_scale && n < width ? segment.column_scale[n] + segment.column_offset : 1.0f;
  return scale * segment.column_factor;
}

// sum += the segment's own sums times their factors; those are 0 afterwards.
template <class Shape, Layout kLayout, class Out>
RORA_DEVICE void join(const Product<bf16, Out>& op, const Segment<bf16>& segment, int warp_m,
                      int warp_n, const Part<Out>& part,
                      float (&own)[Shape::kWarpM / 16][Shape::kWarpN / 8][4],
                      float (&sum)[Shape::kWarpM / 16][Shape::kWarpN / 8][4]) {
  const int lane = int(threadIdx.x) % kWarp, t = lane % 4;
  RORA_UNROLL
  for (int i = 0; i < Shape::kWarpM / 16; ++i) RORA_UNROLL
  for (int half = 0; half < 2; ++half) {
    const int m = warp_m + i * 16 + half * 8 + lane / 4;
    const int32_t order = segment.drops_c && m < part.m ? op.order[m] : 0;
    RORA_UNROLL
    for (int j = 0; j < Shape::kWarpN / 8; ++j) {
      const int n = warp_n + j * 8 + 2 * t;
      float factor[2] = {column_factor(segment, n, part.n), column_factor(segment, n + 1, part.n)};
      if (segment.drops_c) {
        float dropped[4];
        dropout_factors(segment.dropout, order, n / 4 * 4, dropped);
        factor[0] *= t % 2 ? dropped[2] : dropped[0];
        factor[1] *= t % 2 ? dropped[3] : dropped[1];
      }
      RORA_UNROLL
      for (int e = 0; e < 2; ++e) {
        sum[i][j][half * 2 + e] += own[i][j][half * 2 + e] * factor[e];
        own[i][j][half * 2 + e] = 0.0f;
      }
    }
  }
}

// Sums in registers, kWarpM x kWarpN of the tile a warp. While a step's products are computed the
// next step's fragments are loaded, across stages too: at a stage's last step the warp waits for
// the next stage, which frees the present one for the tile kStages later. A k-tile that is not full
// (a low rank's, or the last) ends after as many steps as hold something.
template <class Shape, Layout kLayout, Extras kExtras, class Out>
__global__ void __launch_bounds__(Shape::kThreads) product_mma_kernel(Product<bf16, Out> op) {
  using Stages = Stage<bf16, Shape, kLayout>;
  bf16* const shared = shared_memory<bf16>();
  const Place place = place_of_block<Shape::kM, Shape::kN>(op);
  const Part<Out>& part = op.part[place.part];
  if (place.m >= part.m) return;  // parts may differ in height
  const int warp = int(threadIdx.x) / kWarp, lane = int(threadIdx.x) % kWarp;
  const int warp_m = warp % (Shape::kM / Shape::kWarpM) * Shape::kWarpM;
  const int warp_n = warp / (Shape::kM / Shape::kWarpM) * Shape::kWarpN;

  const LaneRows<Shape, kLayout> rows(warp_m, warp_n);
  const Slice<Shape::kK> slice(op, part);
  Walk<Shape::kK> ahead = slice.start, at = slice.start;
  for (int i = 0; i < Shape::kStages; ++i) {
    if (i < slice.tiles) {
      Stages(shared, i).copy(op, place, ahead);
      ahead.next(op);
    }
    copy_commit();
  }

  float sum[Shape::kWarpM / 16][Shape::kWarpN / 8][4] = {};
  float own[Shape::kWarpM / 16][Shape::kWarpN / 8][4] = {};  // of a segment apart
  Fragments<Shape, kLayout> fragments[2];
  if (slice.tiles > 0) {
    copy_wait<Shape::kStages - 1>();
    if (kExtras != Extras::kNone) Stages(shared, 0).touch(op, place, at);
    block_sync();
    fragments[0].load(Stages(shared, 0), rows, 0);
  }
  int stage = 0;
  for (int tile = 0; tile < slice.tiles; ++tile) {
    const int segment = at.segment, left = op.segment[segment].k - at.k;
    const bool apart = kExtras == Extras::kApart && op.segment[segment].apart;
    RORA_UNROLL
    for (int step = 0; step < Shape::kSteps; ++step) {
      const bool used = step == 0 || step * 16 < left;
      if (step + 1 < Shape::kSteps) {
        if ((step + 1) * 16 < left)
          fragments[(step + 1) % 2].load(Stages(shared, stage), rows, step + 1);
      } else {
        const int next = stage + 1 == Shape::kStages ? 0 : stage + 1;
        copy_wait<Shape::kStages - 2>();
        const bool more = tile + 1 < slice.tiles;
        at.next(op);
        if (kExtras != Extras::kNone && more) Stages(shared, next).touch(op, place, at);
        block_sync();
        if (more) fragments[0].load(Stages(shared, next), rows, 0);
        if (tile + Shape::kStages < slice.tiles) {
          Stages(shared, stage).copy(op, place, ahead);
          ahead.next(op);
        }
        copy_commit();
        stage = next;
      }
      if (used && apart)
        fragments[step % 2].multiply(own);
      else if (used)
        fragments[step % 2].multiply(sum);
    }
    if (apart && (at.segment != segment || tile + 1 == slice.tiles))
      join<Shape, kLayout>(op, op.segment[segment], place.m + warp_m, place.n + warp_n, part, own,
                           sum);
  }

  RORA_UNROLL
  for (int i = 0; i < Shape::kWarpM / 16; ++i) RORA_UNROLL
  for (int j = 0; j < Shape::kWarpN / 8; j += 4) RORA_UNROLL
  for (int half = 0; half < 2; ++half) {
    float pair[4][2];
    RORA_UNROLL
    for (int q = 0; q < 4; ++q)
      pair[q][0] = sum[i][j + q][half * 2], pair[q][1] = sum[i][j + q][half * 2 + 1];
    exchange_in_quad(pair);
    float strip[kStrip];
    RORA_UNROLL
    for (int e = 0; e < kStrip; ++e) strip[e] = pair[e / 2][e % 2];
    write_strip(op, part, place.m + warp_m + i * 16 + half * 8 + lane / 4,
                place.n + warp_n + (j + lane % 4) * 8, strip);
  }
}

// -------------------------------------------------------------------------------------------------
// fp32: multiply-adds

// 16 x 16 threads, each with kM / 16 rows and kN / 16 columns.
template <int kM_, int kN_, int kStages_>
struct FmaShape {
  static constexpr int kM = kM_, kN = kN_, kK = 16, kStages = kStages_, kThreads = 256;
  static constexpr int kRows = kM / 16, kColumns = kN / 16;
  static_assert(kRows % 4 == 0 && kColumns % 4 == 0);
};

// Of what lies along a tile's rows in memory a thread has four neighbours, 64 apart from the next
// four; of what lies across, every 16th: both are reads of 16 bytes by 8 threads from 8 places.
RORA_DEVICE int owned(bool along, int thread, int i) {
  return along ? i / 4 * 64 + thread * 4 + i % 4 : thread + 16 * i;
}

template <int kCount, class Shape>
RORA_DEVICE void read_along(Shape, const float* tile, int row, int thread, float (&v)[kCount]) {
  RORA_UNROLL
  for (int i = 0; i < kCount; i += 4) {
    float four[4];
    load(tile + Shape::at(row, thread + i * 4), 4, four);
    RORA_UNROLL
    for (int e = 0; e < 4; ++e) v[i + e] = four[e];
  }
}

// sum += the products of four neighbouring k of a stage, from k = 4 step on.
template <class Shape, Layout kLayout>
RORA_DEVICE void multiply_four(const Stage<float, Shape, kLayout>& stage, int step, int tm, int tn,
                               float (&sum)[Shape::kRows][Shape::kColumns]) {
  using S = Stage<float, Shape, kLayout>;
  float a[Shape::kRows][4];
  if constexpr (!S::kTransposedA) {
    RORA_UNROLL
    for (int i = 0; i < Shape::kRows; ++i) load(stage.a + S::A::at(tm + 16 * i, step), 4, a[i]);
  }
  if constexpr (!S::kTransposedB) {
    RORA_UNROLL
    for (int j = 0; j < Shape::kColumns; ++j) {
      float b[4];
      load(stage.b + S::B::at(tn + 16 * j, step), 4, b);
      RORA_UNROLL
      for (int i = 0; i < Shape::kRows; ++i) RORA_UNROLL
      for (int k = 0; k < 4; ++k) sum[i][j] += a[i][k] * b[k];
    }
  } else {
    RORA_UNROLL
    for (int k = 0; k < 4; ++k) {
      float column[Shape::kRows], row[Shape::kColumns];
      if constexpr (S::kTransposedA) {
        read_along(typename S::A(), stage.a, step * 4 + k, tm, column);
      } else {
        RORA_UNROLL
        for (int i = 0; i < Shape::kRows; ++i) column[i] = a[i][k];
      }
      read_along(typename S::B(), stage.b, step * 4 + k, tn, row);
      RORA_UNROLL
      for (int i = 0; i < Shape::kRows; ++i) RORA_UNROLL
      for (int j = 0; j < Shape::kColumns; ++j) sum[i][j] += column[i] * row[j];
    }
  }
}

// sum += the segment's own sums times their factors; those are 0 afterwards.
template <class Shape, Layout kLayout, class Out>
RORA_DEVICE void join(const Product<float, Out>& op, const Segment<float>& segment,
                      const Place& place, int tm, int tn, const Part<Out>& part,
                      float (&own)[Shape::kRows][Shape::kColumns],
                      float (&sum)[Shape::kRows][Shape::kColumns]) {
  using S = Stage<float, Shape, kLayout>;
  RORA_UNROLL
  for (int i = 0; i < Shape::kRows; ++i) {
    const int m = place.m + owned(S::kTransposedA, tm, i);
    const int32_t order = segment.drops_c && m < part.m ? op.order[m] : 0;
    RORA_UNROLL
    for (int j = 0; j < Shape::kColumns; j += 4) {
      float dropped[4] = {1.0f, 1.0f, 1.0f, 1.0f};
      if constexpr (S::kTransposedB)  // else the four columns are no neighbours
        if (segment.drops_c)
          dropout_factors(segment.dropout, order, place.n + owned(true, tn, j), dropped);
      RORA_UNROLL
      for (int e = 0; e < 4; ++e) {
        const int n = place.n + owned(S::kTransposedB, tn, j + e);
        sum[i][j + e] += own[i][j + e] * (dropped[e] * column_factor(segment, n, part.n));
        own[i][j + e] = 0.0f;
      }
    }
  }
}

// Sums in registers. A barrier a k-tile: it says that the tile has arrived and that everybody has
// left the one before, whose stage the tile kStages - 1 later then takes.
template <class Shape, Layout kLayout, Extras kExtras, class Out>
__global__ void __launch_bounds__(Shape::kThreads, 1) product_fma_kernel(Product<float, Out> op) {
  using Stages = Stage<float, Shape, kLayout>;
  float* const shared = shared_memory<float>();
  const Place place = place_of_block<Shape::kM, Shape::kN>(op);
  const Part<Out>& part = op.part[place.part];
  if (place.m >= part.m) return;  // parts may differ in height
  const int tm = int(threadIdx.x) / 16, tn = int(threadIdx.x) % 16;

  const Slice<Shape::kK> slice(op, part);
  Walk<Shape::kK> ahead = slice.start, at = slice.start;
  for (int i = 0; i + 1 < Shape::kStages; ++i) {
    if (i < slice.tiles) {
      Stages(shared, i).copy(op, place, ahead);
      ahead.next(op);
    }
    copy_commit();
  }

  float sum[Shape::kRows][Shape::kColumns] = {};
  float own[Shape::kRows][Shape::kColumns] = {};  // of a segment apart
  int stage = 0;
  for (int tile = 0; tile < slice.tiles; ++tile) {
    copy_wait<Shape::kStages - 2>();
    const Stages current(shared, stage);
    if (kExtras != Extras::kNone) Stages(shared, stage).touch(op, place, at);
    block_sync();
    if (tile + Shape::kStages - 1 < slice.tiles) {
      Stages(shared, stage == 0 ? Shape::kStages - 1 : stage - 1).copy(op, place, ahead);
      ahead.next(op);
    }
    copy_commit();
    const int segment = at.segment, left = op.segment[segment].k - at.k;
    const bool apart = kExtras == Extras::kApart && op.segment[segment].apart;
    for (int step = 0; step < Shape::kK / 4 && step * 4 < left; ++step)
      if (apart)
        multiply_four<Shape, kLayout>(current, step, tm, tn, own);
      else
        multiply_four<Shape, kLayout>(current, step, tm, tn, sum);
    at.next(op);
    if (apart && (at.segment != segment || tile + 1 == slice.tiles))
      join<Shape, kLayout>(op, op.segment[segment], place, tm, tn, part, own, sum);
    stage = stage + 1 == Shape::kStages ? 0 : stage + 1;
  }

  RORA_UNROLL
  for (int i = 0; i < Shape::kRows; ++i) RORA_UNROLL
  for (int j = 0; j < Shape::kColumns; ++j)
    write_one(op, part, place.m + owned(Stages::kTransposedA, tm, i),
              place.n + owned(Stages::kTransposedB, tn, j), sum[i][j]);
}

}  // namespace rora::cuda
