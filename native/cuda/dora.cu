// DoRA's row norms (arXiv:2402.09353) from
//
//   |V[n]|^2 = |W[n]|^2 + 2 s (W A^T)[n] . B[n] + s^2 B[n] (A A^T) B[n]^T,   V = W + s B A
//
// without anything of size out x in: W A^T and A A^T are dot products of rows in float, whatever
// the weight's type, the rest is double. Reference: cpu/reference/dora.cpp.
#include "cuda/dora.h"

#include "cuda/rows.h"

namespace rora::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / kWarp;

// A block owns a row, its threads take packs in turn. Traffic: the weight once. Shared memory: 64
// bytes.
template <class T, int N>
__global__ void __launch_bounds__(kThreads) row_squares_kernel(RowSquares<T> op) {
  double* memory = shared_memory<double>();
  const T* row = op.weight + blockIdx.x * op.pitch;
  double sum = 0;
  for (int64_t f = int64_t(threadIdx.x) * N; f < op.columns; f += kThreads * N) {
    float v[N];
    load(row + f, op.columns - f, v);
    for (int i = 0; i < N; ++i) sum += double(v[i]) * double(v[i]);
  }
  sum = block_sum(sum, memory);
  if (threadIdx.x == 0) op.squares[blockIdx.x] = sum;
}

// products[i, j] = sum_k left[i, k] right[j, k]
template <class T>
struct RowProducts {
  int64_t rows, columns, length;
  const T* left;
  int64_t left_pitch;
  const float* right;
  int64_t right_pitch;
  float* products;  // [rows, columns]
};

constexpr int kSide = 16;     // threads a side of a block
constexpr int kRowsEach = 4;  // of `left`, a thread's
constexpr int kRows = kSide * kRowsEach;
constexpr int kStep = 32;              // features in shared memory at a time
constexpr int kTilePitch = kStep + 4;  // eight rows' packs at one feature fall in different banks
constexpr int kTileFloats = 4;         // copied or read at once

// `rows` rows of a matrix from feature k on, zeros outside of it.
template <bool kPacks, class T>
RORA_DEVICE void load_tile(float* tile, int rows, const T* source, int64_t pitch,
                           int64_t valid_rows, int64_t rest) {
  constexpr int kAcross = kStep / kTileFloats;
  for (int item = int(threadIdx.x); item < rows * kAcross; item += kThreads) {
    const int row = item / kAcross, k = item % kAcross * kTileFloats;
    const T* from = source + row * pitch + k;
    const int64_t valid = row < valid_rows ? rest - k : 0;
    float v[kTileFloats];
    if constexpr (kPacks) {
      load(from, valid, v);
    } else {
      for (int i = 0; i < kTileFloats; ++i) v[i] = i < valid ? widen(from[i]) : 0.0f;
    }
    store(tile + row * kTilePitch + k, kTileFloats, v);
  }
}

//             right | j |     A block of 16 x 16 threads owns a tile of 64 x 16 kColumnsEach
//                   +---+     products and walks the features in steps of 32: both operands go to
//   left | i ...    | p |     shared memory as floats, then each thread updates its 4 x
//   kColumnsEach
//                             products (rows and columns 16 apart) four features at a time.
//
// Traffic per tile: 64 rows of left and 16 kColumnsEach of right. Shared memory: 18 KB for 4
// columns each, whose 8 reads of 16 bytes for 64 multiply-adds are the limit: half the peak.
template <class T, int kColumnsEach, bool kPacks>
__global__ void __launch_bounds__(kThreads, 2) row_products_kernel(RowProducts<T> op) {
  constexpr int kColumns = kSide * kColumnsEach;
  float* left = shared_memory<float>();      // [kRows][kTilePitch]
  float* right = left + kRows * kTilePitch;  // [kColumns][kTilePitch]
  const int64_t i0 = int64_t(blockIdx.x) * kRows, j0 = int64_t(blockIdx.y) * kColumns;
  const int across = int(threadIdx.x) % kSide, down = int(threadIdx.x) / kSide;
  float sum[kRowsEach][kColumnsEach] = {};
  for (int64_t k0 = 0; k0 < op.length; k0 += kStep) {
    load_tile<kPacks>(left, kRows, op.left + i0 * op.left_pitch + k0, op.left_pitch, op.rows - i0,
                      op.length - k0);
    load_tile<kPacks>(right, kColumns, op.right + j0 * op.right_pitch + k0, op.right_pitch,
                      op.columns - j0, op.length - k0);
    block_sync();  // both tiles are complete
    for (int k = 0; k < kStep; k += kTileFloats) {
      float l[kRowsEach][kTileFloats], r[kColumnsEach][kTileFloats];
      for (int i = 0; i < kRowsEach; ++i)
        load(left + (down + i * kSide) * kTilePitch + k, kTileFloats, l[i]);
      for (int j = 0; j < kColumnsEach; ++j)
        load(right + (across + j * kSide) * kTilePitch + k, kTileFloats, r[j]);
      for (int i = 0; i < kRowsEach; ++i)
        for (int j = 0; j < kColumnsEach; ++j)
          for (int q = 0; q < kTileFloats; ++q) sum[i][j] += l[i][q] * r[j][q];
    }
    block_sync();  // nobody still reads the tiles
  }
  for (int i = 0; i < kRowsEach; ++i)
    for (int j = 0; j < kColumnsEach; ++j) {
      const int64_t row = i0 + down + i * kSide, column = j0 + across + j * kSide;
      if (row < op.rows && column < op.columns) op.products[row * op.columns + column] = sum[i][j];
    }
}

template <class T>
struct NormsOfRows {
  DoraNorms<T> op;
  const float* weight_products;  // W A^T [out_features, rank]
  const float* gram;             // A A^T [rank, rank], symmetric bit by bit
};

// A warp owns a row: lane j sums the columns j, j + 32 ... of B[n] (A A^T). Traffic: A A^T for each
// row, from the cache; W A^T and B once. No shared memory.
template <class T>
__global__ void __launch_bounds__(kThreads) norms_kernel(NormsOfRows<T> stage) {
  const DoraNorms<T>& op = stage.op;
  const int lane = int(threadIdx.x) % kWarp;
  const int64_t n = int64_t(blockIdx.x) * kWarps + threadIdx.x / kWarp, rank = op.rank;
  if (n >= op.out_features) return;
  const float* b = op.lora_B + n * op.lora_B_pitch;
  double cross = 0, square = 0;
  for (int64_t j = lane; j < rank; j += kWarp) {
    double inner = 0;
    for (int64_t k = 0; k < rank; ++k) inner += double(stage.gram[k * rank + j]) * double(b[k]);
    cross += double(stage.weight_products[n * rank + j]) * double(b[j]);
    square += double(b[j]) * inner;
  }
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    cross += shuffle_xor(cross, mask);
    square += shuffle_xor(square, mask);
  }
  if (lane > 0) return;
  const double s = double(op.scaling);
  const double sum = op.base_squares[n] + 2 * s * cross + s * s * square;
  const float norm = float(sqrt(sum > 0 ? sum : 0.0));
  op.norms[n] = norm;
  op.row_scale[n] = norm > 0 ? op.magnitude[n] / norm : 0.0f;
}

template <class T, int kColumnsEach>
const char* launch_products(Stream stream, const RowProducts<T>& op) {
  constexpr int kColumns = kSide * kColumnsEach;
  const bool packs = packs_fit(op.left, op.left_pitch) && packs_fit(op.right, op.right_pitch);
  return launch(packs ? row_products_kernel<T, kColumnsEach, true>
                      : row_products_kernel<T, kColumnsEach, false>,
                {uint32_t(blocks_of(op.rows, kRows)), uint32_t(blocks_of(op.columns, kColumns))},
                kThreads, (kRows + kColumns) * kTilePitch * sizeof(float), stream, op);
}

template <class T>
const char* row_products(Stream stream, const RowProducts<T>& op) {
  return op.columns <= kSide ? launch_products<T, 1>(stream, op)
                             : launch_products<T, 4>(stream, op);
}

}  // namespace

int64_t dora_workspace(int64_t out_features, int64_t rank) { return (out_features + rank) * rank; }

template <class T>
const char* row_squares(Stream stream, const RowSquares<T>& op) {
  return launch(
      packs_fit(op.weight, op.pitch) ? row_squares_kernel<T, kPack<T>> : row_squares_kernel<T, 1>,
      {uint32_t(op.rows)}, kThreads, kWarps * sizeof(double), stream, op);
}

template <class T>
const char* dora_norms(Stream stream, const DoraNorms<T>& op) {
  float* weight_products = op.workspace;
  float* gram = op.workspace + op.out_features * op.rank;
  const char* error = row_products(
      stream, RowProducts<T>{op.out_features, op.rank, op.in_features, op.weight, op.weight_pitch,
                             op.lora_A, op.lora_A_pitch, weight_products});
  if (*error) return error;
  error =
      row_products(stream, RowProducts<float>{op.rank, op.rank, op.in_features, op.lora_A,
                                              op.lora_A_pitch, op.lora_A, op.lora_A_pitch, gram});
  if (*error) return error;
  return launch(norms_kernel<T>, {uint32_t(blocks_of(op.out_features, kWarps))}, kThreads, 0,
                stream, NormsOfRows<T>{op, weight_products, gram});
}

template const char* row_squares(Stream, const RowSquares<float>&);
template const char* row_squares(Stream, const RowSquares<bf16>&);
template const char* dora_norms(Stream, const DoraNorms<float>&);
template const char* dora_norms(Stream, const DoraNorms<bf16>&);

}  // namespace rora::cuda
