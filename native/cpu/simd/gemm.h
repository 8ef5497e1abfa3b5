// The panel GEMM: every product of weights with activations goes through it.
//
//   Y[n, t] = sum over segments s, k of  W_s[n, k] X_s[k, t]       (research: one longer reduction)
//
//             X_s panels [k][64 tokens]     A task owns a block of rows (pack.h says how many) and
//             +------+------+------+---     some panels. It packs the block's share of W, as much
//   W_s block |      |      |      |        of k as L2 holds, and then goes from panel to panel:
//   +-------+ +------+------+------+---     pieces of k from which X comes through L1 and L2 while
//   | pieces| | sums |      |      |        strip after strip passes over it. If W fits as a
//   +-------+ +------+------+------+---     whole, the sums of one panel stay near and become Y at
//                                           once; else those of 16 panels wait for the next chunk.
//
// Adding segments (low-rank slabs, several projections) needs no second pass over Y. Each element
// has one fixed order of sums, whatever the threads do. Traffic: W once in 16 panels or more, X
// once for each block of rows, Y once. Reference: cpu/reference/linear.cpp.
#pragma once

#include "cpu/simd/dropout.h"
#include "cpu/simd/pack.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kGroupPanels = 16;   // whose sums wait together
constexpr int64_t kPassColumns = 352;  // of k that matrix tiles add up in registers
constexpr int kMaxPieces = 24;
constexpr int64_t kMaskRows = 256;  // a block, and three rows before it

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
  float* packed;  // of a chunk
  float* acc;     // [kGroupPanels][kBlockRows][64]
  float* x;       // copies of X that are widened, masked or filled up with zeros
  float* mask;    // [kMaskRows][64]
};

constexpr int64_t kPackedWords = kBlockRows * 1024;
constexpr int64_t kAccWords = kGroupPanels * kBlockRows * kPanel;
constexpr int64_t kCopyWords = kPieceWords * kPanel;
constexpr int64_t kMaskWords = kMaskRows * kPanel;
static_assert(kCopyWords >= (kPassColumns + kMaxPieces * kStep) / 2 * kPanel,
              "a pass of matrix tiles fits, each of its pieces rounded up to a step");
constexpr int64_t kGemmScratchBytes = (kPackedWords + kAccWords + kCopyWords + kMaskWords) * 4;

static inline PanelScratch panel_scratch(char* memory) {
  float* p = reinterpret_cast<float*>(memory);
  return {p, p + kPackedWords, p + kPackedWords + kAccWords,
          p + kPackedWords + kAccWords + kCopyWords};
}

// A stretch of one segment's reduction, packed for a block of rows.
struct Piece {
  const Segment* segment;
  int64_t k, count, words;
  float* packed;
  bool adds;  // to what the piece before it leaves in matrix tiles
};

// How far a job's reduction has been planned.
struct Cursor {
  int segment = 0;
  int64_t k = 0;
};

// The next piece of a job: its segment in equal parts.
static inline Piece next_piece(const PanelJob& job, TileKind kind, Cursor& cursor) {
  const Geometry g = geometry(kind);
  const Segment& s = job.segment[cursor.segment];
  const int64_t parts = blocks_of(s.k, g.piece_columns);
  const int64_t count = min_of(round_up(blocks_of(s.k, parts), g.align), s.k - cursor.k);
  const Piece piece = {&s, cursor.k, count, words_of(kind, count), nullptr, false};
  cursor.k += count;
  if (cursor.k == s.k) cursor = {cursor.segment + 1, 0};
  return piece;
}

// Pieces for rows [n, n + rows) that are packed at the same time.
struct Chunk {
  Piece piece[kMaxPieces];
  int count = 0;
  int64_t panels = 0;  // that it is packed for
  bool last = false;   // of the job
};

static inline Block block_of(const Piece& piece, int64_t n, int64_t rows, int64_t panels) {
  return {piece.segment->w, n, rows, piece.k, piece.count, panels};
}

static inline void plan_chunk(const PanelJob& job, TileKind kind, int64_t rows, Cursor& cursor,
                              float* packed, Chunk& chunk) {
  const int64_t padded = round_up(rows, geometry(kind).strip_rows);
  int64_t used = 0, pass = 0;
  chunk.count = 0;
  while (cursor.segment < job.segments && chunk.count < kMaxPieces) {
    Cursor next = cursor;
    Piece piece = next_piece(job, kind, next);
    if (chunk.count > 0 && used + padded * piece.words > kPackedWords) break;
    pass = pass + piece.count <= kPassColumns ? pass + piece.count : piece.count;
    piece.adds = chunk.count > 0 && pass > piece.count;
    piece.packed = packed + used;
    used += padded * piece.words;
    chunk.piece[chunk.count++] = piece;
    cursor = next;
  }
  chunk.last = cursor.segment == job.segments;
}

// Rows [k, k + count) of the segment's operand in one panel, masked or widened into `copy`, in
// words of `pairs` or floats.
static inline void copy_operand(const Segment& s, bool pairs, int64_t panel, int64_t k,
                                int64_t count, const Dropout* dropout, float* mask, float* copy) {
  const rora_activation& x = *s.x;
  const int64_t row = s.row + k;
  if (s.stream < 0) {
    if (pairs)
      __builtin_memcpy(copy, panel_data<uint16_t>(x, panel) + row * kPanel,
                       uint64_t(even(count) * kPanel * 2));
    else
      widen_rows(x, panel, row, count, copy, kPanel);
    return;
  }
  for (int64_t done = 0; done < count; done += kMaskRows) {
    const int64_t part = min_of(kMaskRows, count - done);
    mask_rows(*dropout, uint32_t(s.stream), panel, k + done, part, mask);
    with_type(x, [&](auto type) {
      using T = decltype(type);
      const T* base = panel_data<T>(x, panel);
      for (int64_t i = 0; i < part; i += 2)
        for (int lane = 0; lane < kPanel; lane += kLanes) {
          RowPair v = load_pair(base, (row + done + i) / 2, lane);
          v.even *= load(mask + i * kPanel + lane);
          v.odd *= load(mask + (i + 1) * kPanel + lane);
          if (pairs)
            store_pair(reinterpret_cast<uint16_t*>(copy), (done + i) / 2, lane, v);
          else
            store_pair(copy, (done + i) / 2, lane, v);
        }
    });
  }
}

static inline int64_t words_to_next_panel(const rora_activation& a) {
  return panel_stride(a) / (a.dtype == RORA_F32 ? 1 : 2);
}

// The piece's operand in one panel as words [words][64]: the panel itself, or a copy.
static inline const float* operand(const Piece& piece, TileKind kind, int64_t panel,
                                   const Dropout* dropout, const PanelScratch& scratch) {
  const Segment& s = *piece.segment;
  const bool pairs = kind != TileKind::kFloats;
  const int64_t row = s.row + piece.k;
  if (s.stream < 0 && s.x->dtype == RORA_F32) return panel_data<float>(*s.x, panel) + row * kPanel;
  if (s.stream < 0 && pairs)
    return reinterpret_cast<const float*>(panel_data<uint16_t>(*s.x, panel) + row * kPanel);
  copy_operand(s, pairs, panel, piece.k, piece.count, dropout, scratch.mask, scratch.x);
  return scratch.x;
}

template <class Finish>
static inline void multiply_strips(const Chunk& chunk, TileKind kind, int64_t n, int64_t rows,
                                   int64_t panel, const Dropout* dropout,
                                   const PanelScratch& scratch, float* acc, bool add,
                                   const Finish& finish) {
  for (int p = 0; p < chunk.count; ++p) {
    const Piece& piece = chunk.piece[p];
    const float* x = operand(piece, kind, panel, dropout, scratch);
    const Block block = block_of(piece, n, rows, chunk.panels);
    const rora_activation& a = *piece.segment->x;
    const int64_t next = x == scratch.x ? 0 : words_to_next_panel(a);
    for (int64_t i = 0; i < rows; i += kTileRows) {
      const Strip strip = strip_at(kind, block, piece.words, piece.packed, i);
      // Sixteen strips fetch the four lines of four rows.
      const int64_t turn = i / kTileRows % 16;
      const float* ahead = x + next + turn / 4 * kPanel + turn % 4 * 16;
#if defined(__AVX512BF16__)
      if (kind == TileKind::kPairs) {
        tile<PairWords>(piece.words, strip, x, ahead, acc + i * kPanel, add || p > 0);
        continue;
      }
#endif
      tile<FloatWords>(piece.words, strip, x, ahead, acc + i * kPanel, add || p > 0);
    }
  }
  if (chunk.last) finish(0, rows, acc);
}

// The operand of a piece for matrix tiles. What is not a whole step, or is masked, is copied to
// `copy` and filled up with zeros; returns the copy's end.
static inline char* tile_operand(const Piece& piece, int64_t panel, const Dropout* dropout,
                                 float* mask, char* copy, TileRun& run) {
  const Segment& s = *piece.segment;
  const int64_t whole = s.stream < 0 ? piece.count / kStep * kStep : 0, rest = piece.count - whole;
  run.x =
      reinterpret_cast<const char*>(panel_data<uint16_t>(*s.x, panel) + (s.row + piece.k) * kPanel);
  run.steps = whole / kStep;
  run.tail = nullptr;
  run.next = panel_stride(*s.x) * 2;
  if (rest == 0) return copy;
  const int64_t bytes = round_up(rest, kStep) * kPanel * 2, used = even(rest) * kPanel * 2;
  copy_operand(s, true, panel, piece.k + whole, rest, dropout, mask,
               reinterpret_cast<float*>(copy));
  __builtin_memset(copy + used, 0, uint64_t(bytes - used));
  if (rest > kStep) {
    run.x = copy;
    run.next = 0;
    run.steps = round_up(rest, kStep) / kStep;
  } else {
    run.tail = copy;
  }
  return copy + bytes;
}

// Calls finish(i, rows, sums) for rows [i, i + rows) of the block as soon as the last pass over
// them is done, if `last` says that no chunk follows.
template <class Finish>
static inline void multiply_tiles(const Chunk& chunk, int64_t n, int64_t rows, int64_t panel,
                                  const Dropout* dropout, const PanelScratch& scratch, float* acc,
                                  bool add, const Finish& finish) {
  const int ahead = int(blocks_of(kStep * 2, 2 * blocks_of(rows, kStripRows)));
  for (int first = 0, last; first < chunk.count; first = last) {
    TileRun runs[kMaxPieces];
    char* copy = reinterpret_cast<char*>(scratch.x);
    for (last = first; last < chunk.count && (last == first || chunk.piece[last].adds); ++last)
      copy =
          tile_operand(chunk.piece[last], panel, dropout, scratch.mask, copy, runs[last - first]);
    const bool adds = add || first > 0, ends = chunk.last && last == chunk.count;
    for (int64_t i = 0; i < rows; i += kStripRows) {
      for (int p = first; p < last; ++p) {
        const Piece& piece = chunk.piece[p];
        set_left(block_of(piece, n, rows, chunk.panels), piece.words, piece.packed, i,
                 runs[p - first]);
      }
      // Sums that are begun and ended here need no place of their own.
      float* sums = ends && !adds ? acc : acc + i * kPanel;
      for (int half = 0; half < 2; ++half) {
        const int sweep = int(i / kStripRows) * 2 + half;
        tile_runs(runs, last - first, half * 32, {sweep * ahead, ahead}, sums, adds);
      }
      if (ends) finish(i, min_of(kStripRows, rows - i), sums);
    }
  }
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
  // Masks are made four features at a time; a block may begin between.
  const int64_t before = n % 4;
  mask_rows(dropout, job.stream, panel, n - before, rows + before, mask);
  mask += before * kPanel;
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

// What becomes of the sums of rows [n, n + rows) in one panel.
static inline void finish_block(const PanelJob& job, int64_t n, int64_t rows, int64_t panel,
                                const float* acc, const Dropout* dropout, float* mask,
                                double* sums) {
  if (job.kind == PanelJob::kStore) store_block(job, n, rows, panel, acc);
  if (job.kind == PanelJob::kMaskedAdd) add_masked_block(job, n, rows, panel, acc, *dropout, mask);
  if (job.kind == PanelJob::kDot) dot_block(job, n, rows, panel, acc, sums);
}

// Rows [n, n + rows) of the job for panels [first, last).
static inline void run_block(const PanelJob& job, TileKind kind, int64_t n, int64_t rows,
                             int64_t first, int64_t last, const Dropout* dropout,
                             const PanelScratch& scratch) {
  const TileSession session(kind == TileKind::kTiles);
  const int64_t acc_words = round_up(rows, geometry(kind).strip_rows) * kPanel;
  double sums[kBlockRows] = {};
  Chunk chunk;
  for (int64_t group = first, group_end; group < last; group = group_end) {
    Cursor cursor;
    bool add = false;
    group_end = min_of(last, group + kGroupPanels);
    do {
      plan_chunk(job, kind, rows, cursor, scratch.packed, chunk);
      const bool whole = chunk.last && !add;  // W fits: any number of panels, one at a time
      if (whole) group_end = last;
      chunk.panels = group_end - group;
      for (int p = 0; p < chunk.count; ++p)
        pack_block(kind, block_of(chunk.piece[p], n, rows, chunk.panels), chunk.piece[p].words,
                   chunk.piece[p].packed);
      for (int64_t panel = group; panel < group_end; ++panel) {
        float* acc = scratch.acc + (whole ? 0 : panel - group) * acc_words;
        const auto finish = [&](int64_t i, int64_t count, const float* total) {
          finish_block(job, n + i, count, panel, total, dropout, scratch.mask, sums + i);
        };
        if (kind == TileKind::kTiles)
          multiply_tiles(chunk, n, rows, panel, dropout, scratch, acc, add, finish);
        else
          multiply_strips(chunk, kind, n, rows, panel, dropout, scratch, acc, add, finish);
      }
      add = true;
    } while (!chunk.last);
  }
  if (job.kind == PanelJob::kDot)
    for (int64_t i = 0; i < rows; ++i)
      if (job.dot_divisor[n + i] > 0)
        job.dot_sum[n + i] += float(sums[i] / double(job.dot_divisor[n + i]));
}

constexpr int kMaxJobs = 8;

// How a call is cut into tasks: blocks of so many rows, ranges of so many panels.
struct Cut {
  int64_t rows, range;
};

// Gives threads equal shares, to 5 % of a share. Each further range packs W once more, so blocks
// are made smaller first, down to half the size.
static inline Cut cut_jobs(const PanelJob* jobs, int count, int64_t strip_rows, int64_t panels,
                           int64_t threads) {
  if (threads == 1) return {kBlockRows, panels};
  int64_t all_rows = 0, most_rows = 0;
  for (int j = 0; j < count; ++j) {
    all_rows += jobs[j].n;
    most_rows = max_of(most_rows, jobs[j].n);
  }
  const auto is_even = [&](int64_t rows, int64_t range) {
    int64_t tasks = 0;
    for (int j = 0; j < count; ++j) tasks += blocks_of(jobs[j].n, rows) * blocks_of(panels, range);
    const int64_t share = blocks_of(tasks, threads) * min_of(rows, most_rows) * range;
    return tasks >= 3 * threads && share * threads * 20 <= all_rows * panels * 21;
  };
  const int64_t most = min_of(panels, 4 * threads);
  for (int64_t ranges = 1; ranges < most; ++ranges)
    for (int64_t rows = kBlockRows; 2 * rows >= kBlockRows; rows -= strip_rows)
      if (is_even(rows, blocks_of(panels, ranges))) return {rows, blocks_of(panels, ranges)};
  return {kBlockRows, blocks_of(panels, most)};
}

// Runs jobs that do not depend on each other over all panels of `tokens` tokens. All segments of
// all jobs have one dtype. How the panels are cut into ranges changes no result.
static inline void run_jobs(rora_context& context, const PanelJob* jobs, int count, int64_t tokens,
                            const Dropout* dropout) {
  const int64_t all = panels(tokens);
  if (all == 0 || count == 0) return;
  const TileKind kind = tile_kind(jobs[0].segment[0].x->dtype);
  const auto [block_rows, range] =
      cut_jobs(jobs, count, geometry(kind).strip_rows, all, context.pool->threads());
  int64_t start[kMaxJobs + 1] = {};
  for (int j = 0; j < count; ++j) {
    const int64_t ranges = jobs[j].kind == PanelJob::kDot ? 1 : blocks_of(all, range);
    start[j + 1] = start[j] + blocks_of(jobs[j].n, block_rows) * ranges;
  }
  context.pool->reserve(kGemmScratchBytes);
  parallel(*context.pool, start[count], [&](int64_t task, int32_t thread) {
    int j = 0;
    while (task >= start[j + 1]) ++j;
    const PanelJob& job = jobs[j];
    const int64_t job_blocks = blocks_of(job.n, block_rows), at = task - start[j];
    const int64_t n = at % job_blocks * block_rows;
    const int64_t own = job.kind == PanelJob::kDot ? all : range, first = at / job_blocks * own;
    run_block(job, kind, n, min_of(block_rows, job.n - n), first, min_of(all, first + own), dropout,
              panel_scratch(context.pool->scratch(thread)));
  });
}

}  // namespace rora::RORA_LEVEL
