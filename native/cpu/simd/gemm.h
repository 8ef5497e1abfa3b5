// The panel GEMM: every product of weights with activations goes through it.
//
//   Y[n, t] = sum over segments s, k of  W_s[n, k] X_s[k, t]            (research: one longer
//   reduction)
//
//             X_s panel [k][64 tokens]      A tile is 6 rows of W times 64 tokens: 24 AVX-512
//             accumulators. x0 x1 .............. x63      For each k: 4 loads of X, 6 broadcasts of
//             W, 24 FMAs, so FMA
//   W strip   +----------------------+      issue is the limit. W is packed on the fly, a block of
//   96 rows [k][6]    | 6 x 64 accumulators  |      by 512 k (196 KB, half of L2), and used for up
//   to 16 panels;
//             +----------------------+      X panels stream from L2 / L3, 4 bytes for 6 FMA cycles.
//
// With bf16 activations and AVX512-BF16 the reduction runs over pairs (vdpbf16ps), else X is
// widened block by block. Adding segments (low-rank slabs, several projections) needs no second
// pass over Y. Each tile has one fixed order of sums, whatever the threads do. Reference:
// cpu/reference/linear.cpp.
#pragma once

#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

#include "cpu/simd/dropout.h"
#include "cpu/simd/vec.h"

namespace rora::RORA_LEVEL {

#if defined(__AVX512BF16__)
constexpr bool kDotsPairs = true;
#else
constexpr bool kDotsPairs = false;
#endif

constexpr int kTileRows = 6;
// 6 x 4 accumulators need 32 registers; with 16 registers 6 x 2 fit.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int kTileVectors = 4;
#else
constexpr int kTileVectors = 2;
#endif
constexpr int kTileLanes = kTileVectors * kLanes;

constexpr int64_t kBlockRows = 96;    // of W packed at once
constexpr int64_t kBlockWords = 512;  // 4-byte words of k in a block: floats or bf16 pairs
constexpr int64_t kGroupPanels = 16;  // that share a packed block

// acc[i * 64 + lane] (+)= sum_k w[k * 6 + i] * x[k * 64 + lane], i < 6.
static inline void tile_f32(int64_t k, const float* w, const float* x, float* acc, bool add) {
  for (int lane = 0; lane < kPanel; lane += kTileLanes) {
    vfloat c[kTileRows][kTileVectors];
    for (int i = 0; i < kTileRows; ++i)
      for (int v = 0; v < kTileVectors; ++v)
        c[i][v] = add ? load(acc + i * kPanel + lane + v * kLanes) : vfloat{};
    for (int64_t j = 0; j < k; ++j) {
      vfloat xv[kTileVectors];
#pragma GCC unroll 8
      for (int v = 0; v < kTileVectors; ++v) xv[v] = load(x + j * kPanel + lane + v * kLanes);
#pragma GCC unroll 8
      for (int i = 0; i < kTileRows; ++i) {
        const vfloat b = splat(w[j * kTileRows + i]);
#pragma GCC unroll 8
        for (int v = 0; v < kTileVectors; ++v) c[i][v] += b * xv[v];
      }
    }
    for (int i = 0; i < kTileRows; ++i)
      for (int v = 0; v < kTileVectors; ++v) store(acc + i * kPanel + lane + v * kLanes, c[i][v]);
  }
}

// The same over pairs: w[k * 6 + i] is the pair (W[i, 2k], W[i, 2k + 1]), x as in a bf16 panel.
static inline void tile_pairs(int64_t pairs, const uint32_t* w, const uint16_t* x, float* acc,
                              bool add) {
#if defined(__AVX512BF16__)
  __m512 c[kTileRows][4];
  for (int i = 0; i < kTileRows; ++i)
    for (int v = 0; v < 4; ++v)
      c[i][v] = add ? _mm512_loadu_ps(acc + i * kPanel + v * 16) : _mm512_setzero_ps();
  for (int64_t j = 0; j < pairs; ++j) {
    __m512bh xv[4];
#pragma GCC unroll 4
    for (int v = 0; v < 4; ++v) xv[v] = (__m512bh)_mm512_loadu_si512(x + j * 2 * kPanel + v * 32);
#pragma GCC unroll 6
    for (int i = 0; i < kTileRows; ++i) {
      const __m512bh b = (__m512bh)_mm512_set1_epi32(int(w[j * kTileRows + i]));
#pragma GCC unroll 4
      for (int v = 0; v < 4; ++v) c[i][v] = _mm512_dpbf16_ps(c[i][v], xv[v], b);
    }
  }
  for (int i = 0; i < kTileRows; ++i)
    for (int v = 0; v < 4; ++v) _mm512_storeu_ps(acc + i * kPanel + v * 16, c[i][v]);
#else
  (void)pairs, (void)w, (void)x, (void)acc, (void)add;
#endif
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

template <class T>
static inline float scaled(const Matrix& m, int64_t n, int64_t k) {
  const T* data = static_cast<const T*>(m.data);
  float value = widen(m.transposed ? data[k * m.stride + n] : data[n * m.stride + k]);
  if (m.n_scale) value *= m.n_scale[n] - m.scale_offset;
  if (m.k_scale) value *= m.k_scale[k] - m.scale_offset;
  return value;
}

// Packs rows [n, n + rows), rows <= 6, of columns [k, k + count) as floats [count][6]; rows that
// are missing become zero.
template <class T>
static inline void pack_strip_f32(const Matrix& m, int64_t n, int64_t rows, int64_t k,
                                  int64_t count, float* out) {
  const T* data = static_cast<const T*>(m.data);
  if (rows == kTileRows && !m.n_scale && !m.k_scale) {
    if (m.transposed) {
      for (int64_t j = 0; j < count; ++j)
        for (int i = 0; i < kTileRows; ++i)
          out[j * kTileRows + i] = widen(data[(k + j) * m.stride + n + i]);
    } else {
      const T* row = data + n * m.stride + k;
      for (int64_t j = 0; j < count; ++j)
        for (int i = 0; i < kTileRows; ++i) out[j * kTileRows + i] = widen(row[i * m.stride + j]);
    }
    return;
  }
  for (int64_t j = 0; j < count; ++j)
    for (int i = 0; i < kTileRows; ++i)
      out[j * kTileRows + i] = i < rows ? scaled<T>(m, n + i, k + j) : 0.0f;
}

static inline uint32_t pair_of(uint32_t low, uint32_t high) { return low | high << 16; }

// The same as pairs [ceil(count / 2)][6]; the second half of a last odd pair is zero.
template <class T>
static inline void pack_strip_pairs(const Matrix& m, int64_t n, int64_t rows, int64_t k,
                                    int64_t count, uint32_t* out) {
  int64_t j = 0;
  if (sizeof(T) == 2 && rows == kTileRows && !m.n_scale && !m.k_scale) {
    const uint16_t* data = static_cast<const uint16_t*>(m.data);
    if (m.transposed) {
      for (; j + 1 < count; j += 2) {
        const uint16_t* low = data + (k + j) * m.stride + n;
        for (int i = 0; i < kTileRows; ++i)
          out[j / 2 * kTileRows + i] = pair_of(low[i], low[i + m.stride]);
      }
    } else {
      for (; j + 1 < count; j += 2)
        for (int i = 0; i < kTileRows; ++i)
          __builtin_memcpy(out + j / 2 * kTileRows + i, data + (n + i) * m.stride + k + j, 4);
    }
  }
  for (; j < count; j += 2)
    for (int i = 0; i < kTileRows; ++i) {
      const uint32_t low = i < rows ? float_to_bf16(scaled<T>(m, n + i, k + j)) : 0u;
      const uint32_t high =
          i < rows && j + 1 < count ? float_to_bf16(scaled<T>(m, n + i, k + j + 1)) : 0u;
      out[j / 2 * kTileRows + i] = pair_of(low, high);
    }
}

struct Segment {
  const rora_activation* x;
  int64_t row;  // of the panel where the operand begins; even
  int64_t k;
  Matrix w;
  int64_t stream;  // dropout stream of x, or -1
};

struct PanelJob {
  enum Kind {
    kStore,      // y = scale acc row_scale[n] + bias[n] + add
    kMaskedAdd,  // y += mask o acc
    kDot         // dot_sum[n] += sum_t dot[n, t] acc[n, t] / dot_divisor[n], where that is > 0
  };
  Kind kind = kStore;
  int segments = 0;
  Segment segment[8];
  int64_t n = 0;
  rora_activation* y = nullptr;
  int64_t y_row = 0;  // even
  float scale = 1.0f;
  const float* row_scale = nullptr;
  const float* bias = nullptr;
  const rora_activation* add = nullptr;  // rows y_row .. of it
  uint32_t stream = 0;                   // kMaskedAdd
  const rora_activation* dot = nullptr;  // kDot: rows y_row .. of it
  float* dot_sum = nullptr;
  const float* dot_divisor = nullptr;

  void append(const Segment& s) { segment[segments++] = s; }
};

struct PanelScratch {
  float* packed;  // [kBlockRows][kBlockWords]
  float* acc;     // [kGroupPanels][kBlockRows][64]
  float* x;       // [kBlockWords][64]
  float* mask;    // [kBlockWords][64]
};

constexpr int64_t kPackedWords = kBlockRows * kBlockWords;
constexpr int64_t kAccWords = kGroupPanels * kBlockRows * kPanel;
constexpr int64_t kPanelWords = kBlockWords * kPanel;
constexpr int64_t kGemmScratchBytes = (kPackedWords + kAccWords + 3 * kPanelWords) * 4;

static inline PanelScratch panel_scratch(char* memory) {
  float* p = reinterpret_cast<float*>(memory);
  return {p, p + kPackedWords, p + kPackedWords + kAccWords,
          p + kPackedWords + kAccWords + kPanelWords};
}

// k columns of a block
static inline int64_t block_columns(bool pairs) { return pairs ? 2 * kBlockWords : kBlockWords; }

static inline void pack_block(const Segment& s, bool pairs, int64_t n, int64_t rows, int64_t k,
                              int64_t count, float* packed) {
  const int64_t words = pairs ? (count + 1) / 2 : count;
  for (int64_t i = 0; i < rows; i += kTileRows) {
    float* strip = packed + i * words;
    uint32_t* pair_strip = reinterpret_cast<uint32_t*>(strip);
    const int64_t strip_rows = min_of(kTileRows, rows - i);
    const bool wide = s.w.dtype == RORA_F32;
    if (pairs && wide) pack_strip_pairs<float>(s.w, n + i, strip_rows, k, count, pair_strip);
    if (pairs && !wide) pack_strip_pairs<uint16_t>(s.w, n + i, strip_rows, k, count, pair_strip);
    if (!pairs && wide) pack_strip_f32<float>(s.w, n + i, strip_rows, k, count, strip);
    if (!pairs && !wide) pack_strip_f32<uint16_t>(s.w, n + i, strip_rows, k, count, strip);
  }
}

// Rows [k, k + count) of the segment's operand in one panel, in the form the tiles read: the panel
// itself, or a widened or masked copy in scratch.
static inline const void* operand(const Segment& s, bool pairs, int64_t panel, int64_t k,
                                  int64_t count, const Dropout* dropout,
                                  const PanelScratch& scratch) {
  const rora_activation& x = *s.x;
  const int64_t row = s.row + k;
  if (s.stream < 0) {
    if (x.dtype == RORA_F32) return panel_data<float>(x, panel) + row * kPanel;
    if (pairs) return panel_data<uint16_t>(x, panel) + row * kPanel;
    widen_rows(x, panel, row, count, scratch.x, kPanel);
    return scratch.x;
  }
  // Mask in pieces, so that the mask's scratch need not grow with pairs.
  for (int64_t done = 0; done < count; done += kBlockWords) {
    const int64_t part = min_of(kBlockWords, count - done);
    mask_rows(*dropout, uint32_t(s.stream), panel, k + done, part, scratch.mask);
    with_type(x, [&](auto type) {
      using T = decltype(type);
      const T* base = panel_data<T>(x, panel);
      for (int64_t i = 0; i < part; i += 2)
        for (int lane = 0; lane < kPanel; lane += kLanes) {
          RowPair v = load_pair(base, (row + done + i) / 2, lane);
          v.even *= load(scratch.mask + i * kPanel + lane);
          v.odd *= load(scratch.mask + (i + 1) * kPanel + lane);
          if (pairs)
            store_pair(reinterpret_cast<uint16_t*>(scratch.x), (done + i) / 2, lane, v);
          else
            store_pair(scratch.x, (done + i) / 2, lane, v);
        }
    });
  }
  return scratch.x;
}

static inline void store_block(const PanelJob& job, int64_t n, int64_t rows, int64_t panel,
                               const float* acc) {
  with_type(*job.y, [&](auto type) {
    using T = decltype(type);
    T* y = panel_data<T>(*job.y, panel);
    for (int64_t i = 0; i < rows; i += 2) {
      const bool last = i + 1 == rows;
      const int64_t pair = (job.y_row + n + i) / 2;
      const float scale0 = job.row_scale ? job.scale * job.row_scale[n + i] : job.scale;
      const float scale1 =
          last ? 0.0f : (job.row_scale ? job.scale * job.row_scale[n + i + 1] : job.scale);
      const float bias0 = job.bias ? job.bias[n + i] : 0.0f;
      const float bias1 = job.bias && !last ? job.bias[n + i + 1] : 0.0f;
      for (int lane = 0; lane < kPanel; lane += kLanes) {
        RowPair v;
        v.even = load(acc + i * kPanel + lane) * scale0 + bias0;
        // Behind the last row of an odd count stands a pad row, which stays zero.
        v.odd = last ? vfloat{} : load(acc + (i + 1) * kPanel + lane) * scale1 + bias1;
        if (job.add) {
          const RowPair old = job.add->dtype == RORA_F32
                                  ? load_pair(panel_data<float>(*job.add, panel), pair, lane)
                                  : load_pair(panel_data<uint16_t>(*job.add, panel), pair, lane);
          v.even += old.even;
          v.odd += old.odd;
        }
        store_pair(y, pair, lane, v);
      }
    }
  });
}

static inline void add_masked_block(const PanelJob& job, int64_t n, int64_t rows, int64_t panel,
                                    const float* acc, const Dropout& dropout, float* mask) {
  mask_rows(dropout, job.stream, panel, n, rows, mask);
  with_type(*job.y, [&](auto type) {
    using T = decltype(type);
    T* y = panel_data<T>(*job.y, panel);
    for (int64_t i = 0; i < rows; i += 2)
      for (int lane = 0; lane < kPanel; lane += kLanes) {
        const int64_t pair = (job.y_row + n + i) / 2;
        RowPair v = load_pair(y, pair, lane);
        v.even += load(acc + i * kPanel + lane) * load(mask + i * kPanel + lane);
        if (i + 1 < rows)
          v.odd += load(acc + (i + 1) * kPanel + lane) * load(mask + (i + 1) * kPanel + lane);
        store_pair(y, pair, lane, v);
      }
  });
}

static inline void dot_block(const PanelJob& job, int64_t n, int64_t rows, int64_t panel,
                             const float* acc, double* sums) {
  with_type(*job.dot, [&](auto type) {
    using T = decltype(type);
    const T* dot = panel_data<T>(*job.dot, panel);
    for (int64_t i = 0; i < rows; ++i) {
      vfloat sum = {};
      for (int lane = 0; lane < kPanel; lane += kLanes)
        sum += load(acc + i * kPanel + lane) * load_row(dot, job.y_row + n + i, lane);
      sums[i] += double(sum_lanes(sum));
    }
  });
}

// Rows [n, n + rows) of the job for panels [first, last).
static inline void run_block(const PanelJob& job, int64_t n, int64_t rows, int64_t first,
                             int64_t last, const Dropout* dropout, const PanelScratch& scratch) {
  const bool pairs = kDotsPairs && job.segment[0].x->dtype == RORA_BF16;
  double sums[kBlockRows] = {};
  for (int64_t group = first; group < last; group += kGroupPanels) {
    const int64_t group_end = min_of(last, group + kGroupPanels);
    bool add = false;
    for (int s = 0; s < job.segments; ++s) {
      const Segment& segment = job.segment[s];
      for (int64_t k = 0; k < segment.k; k += block_columns(pairs)) {
        const int64_t count = min_of(block_columns(pairs), segment.k - k);
        const int64_t words = pairs ? (count + 1) / 2 : count;
        pack_block(segment, pairs, n, rows, k, count, scratch.packed);
        for (int64_t panel = group; panel < group_end; ++panel) {
          const void* x = operand(segment, pairs, panel, k, count, dropout, scratch);
          float* acc = scratch.acc + (panel - group) * kBlockRows * kPanel;
          for (int64_t i = 0; i < rows; i += kTileRows) {
            const float* strip = scratch.packed + i * words;
            if (pairs)
              tile_pairs(words, reinterpret_cast<const uint32_t*>(strip),
                         static_cast<const uint16_t*>(x), acc + i * kPanel, add);
            else
              tile_f32(count, strip, static_cast<const float*>(x), acc + i * kPanel, add);
          }
        }
        add = true;
      }
    }
    for (int64_t panel = group; panel < group_end; ++panel) {
      const float* acc = scratch.acc + (panel - group) * kBlockRows * kPanel;
      if (job.kind == PanelJob::kStore) store_block(job, n, rows, panel, acc);
      if (job.kind == PanelJob::kMaskedAdd)
        add_masked_block(job, n, rows, panel, acc, *dropout, scratch.mask);
      if (job.kind == PanelJob::kDot) dot_block(job, n, rows, panel, acc, sums);
    }
  }
  if (job.kind == PanelJob::kDot)
    for (int64_t i = 0; i < rows; ++i)
      if (job.dot_divisor[n + i] > 0)
        job.dot_sum[n + i] += float(sums[i] / double(job.dot_divisor[n + i]));
}

constexpr int kMaxJobs = 8;
constexpr int64_t kWantedTasks = 16;  // enough for a few threads to share evenly

// Runs jobs that do not depend on each other over all panels of `tokens` tokens. All segments of a
// job have one dtype.
static inline void run_jobs(rora_context& context, const PanelJob* jobs, int count, int64_t tokens,
                            const Dropout* dropout) {
  const int64_t all = panels(tokens);
  if (all == 0 || count == 0) return;
  int64_t blocks = 0;
  for (int j = 0; j < count; ++j) blocks += blocks_of(jobs[j].n, kBlockRows);
  // Few blocks of rows (a low-rank product, say): cut the panels into ranges too.
  const int64_t wanted_ranges = max_of(1, kWantedTasks / max_of(1, blocks));
  const int64_t range = blocks_of(all, min_of(all, wanted_ranges));
  int64_t start[kMaxJobs + 1] = {};
  for (int j = 0; j < count; ++j) {
    const int64_t ranges = jobs[j].kind == PanelJob::kDot ? 1 : blocks_of(all, range);
    start[j + 1] = start[j] + blocks_of(jobs[j].n, kBlockRows) * ranges;
  }
  context.pool->reserve(kGemmScratchBytes);
  parallel(*context.pool, start[count], [&](int64_t task, int32_t thread) {
    int j = 0;
    while (task >= start[j + 1]) ++j;
    const PanelJob& job = jobs[j];
    const int64_t job_blocks = blocks_of(job.n, kBlockRows), at = task - start[j];
    const int64_t n = at % job_blocks * kBlockRows;
    const int64_t own = job.kind == PanelJob::kDot ? all : range, first = at / job_blocks * own;
    run_block(job, n, min_of(kBlockRows, job.n - n), first, min_of(all, first + own), dropout,
              panel_scratch(context.pool->scratch(thread)));
  });
}

}  // namespace rora::RORA_LEVEL
