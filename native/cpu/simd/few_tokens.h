// The forward pass for a handful of tokens (generation): rows of W are read once, as they lie in
// memory, and multiplied with row-major copies of the tokens. A panel's 64 lanes would be mostly
// empty.
//
//   W, rows in memory        x, a row per token      Several rows at once, so that many loads are
//   | r0 ........ |          | t0 ........ |         under way; what the next rows hold is asked
//   | r1 ........ |    o     | t1 ........ |         for a group ahead, across the ends of pages.
//   | ...         |          | ...         |
//
// Traffic: W once, and nothing else counts: 2 or 4 bytes for each multiplication with a token, far
// below what a core can do, so memory bandwidth is the limit. A row's sum has one order, however
// many rows and tokens are computed together. Reference: cpu/reference/linear.cpp.
#pragma once

#include "cpu/simd/gemm.h"
#include "cpu/simd/math.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kSweepTokens = 4;  // more take a second sweep over rows that are in L1 then
constexpr int64_t kFewTaskBytes = 40 << 10;  // of W: some microseconds

// The type of x and of W, what one step multiplies, and how.
template <class W>
struct WidenedProduct {
  using Weight = W;
  using Operand = float;
  static constexpr int64_t kStep = kLanes;
  static vfloat weights(const float* w) { return load(w); }
  static vfloat weights(const uint16_t* w) {
    typedef uint16_t vhalf __attribute__((vector_size(kLanes * 2)));
    vhalf bits;
    __builtin_memcpy(&bits, w, sizeof bits);
    return (vfloat)(__builtin_convertvector(bits, vuint) << 16);
  }
  static vfloat operands(const float* x) { return load(x); }
  static vfloat add(vfloat sum, vfloat w, vfloat x) { return sum + w * x; }
};

#if defined(__AVX512BF16__)
struct PairProduct {
  using Weight = uint16_t;
  using Operand = uint16_t;
  static constexpr int64_t kStep = 2 * kLanes;
  static __m512bh weights(const uint16_t* w) { return (__m512bh)_mm512_loadu_si512(w); }
  static __m512bh operands(const uint16_t* x) { return (__m512bh)_mm512_loadu_si512(x); }
  static vfloat add(vfloat sum, __m512bh w, __m512bh x) { return _mm512_dpbf16_ps(sum, w, x); }
};
#endif

// dots[r * kFewTokens + t] += sum_k w[r, k] x[t, k]. `ahead` is the distance to the weights that
// are read next, 0 for none.
template <class P, int Rows, int Tokens>
static inline void dot_few(int64_t k, const typename P::Weight* w, int64_t stride, int64_t ahead,
                           const typename P::Operand* x, float* dots) {
  vfloat sum[Rows][Tokens] = {};
  int64_t i = 0;
  for (; i + P::kStep <= k; i += P::kStep)
#pragma GCC unroll 8
    for (int r = 0; r < Rows; ++r) {
      const auto* row = w + r * stride + i;
      __builtin_prefetch(row + ahead);
      const auto weights = P::weights(row);
#pragma GCC unroll 4
      for (int t = 0; t < Tokens; ++t)
        sum[r][t] = P::add(sum[r][t], weights, P::operands(x + t * k + i));
    }
  for (int r = 0; r < Rows; ++r)
    for (int t = 0; t < Tokens; ++t) {
      float dot = sum_lanes(sum[r][t]);
      for (int64_t j = i; j < k; ++j) dot += widen(w[r * stride + j]) * widen(x[t * k + j]);
      dots[r * kFewTokens + t] += dot;
    }
}

// As many rows as there are registers for sums, of which a level with 512 bits has 32.
constexpr int kRowsOfMany = kLanes == 16 ? 4 : 2;
constexpr int64_t kFewGroup = 8;  // the most rows at once

template <class P, int Rows, int Tokens>
static inline void dot_few_group(int64_t rows, int64_t k, const typename P::Weight* w,
                                 int64_t stride, int64_t ahead, const typename P::Operand* x,
                                 float* dots) {
  int64_t r = 0;
  for (; r + Rows <= rows; r += Rows)
    dot_few<P, Rows, Tokens>(k, w + r * stride, stride, ahead, x, dots + r * kFewTokens);
  for (; r < rows; ++r)
    dot_few<P, 1, Tokens>(k, w + r * stride, stride, ahead, x, dots + r * kFewTokens);
}

// Up to kFewGroup rows from n on of one segment. Whether a group follows says `more`.
template <class P>
static inline void dot_few_segment(const Segment& segment, int64_t n, int64_t rows, bool more,
                                   int64_t tokens, const void* operand, float* dots) {
  const int64_t k = segment.k, stride = segment.w.stride, ahead = more ? kFewGroup * stride : 0;
  const auto* w = static_cast<const typename P::Weight*>(segment.w.data) + n * stride;
  const auto* x = static_cast<const typename P::Operand*>(operand);
  for (; tokens > 0; tokens -= kSweepTokens, x += kSweepTokens * k, dots += kSweepTokens) {
    if (tokens == 1) dot_few_group<P, kFewGroup, 1>(rows, k, w, stride, ahead, x, dots);
    if (tokens == 2) dot_few_group<P, 4, 2>(rows, k, w, stride, ahead, x, dots);
    if (tokens == 3) dot_few_group<P, kRowsOfMany, 3>(rows, k, w, stride, ahead, x, dots);
    if (tokens >= 4) dot_few_group<P, kRowsOfMany, 4>(rows, k, w, stride, ahead, x, dots);
  }
}

static inline bool multiplies_pairs(const Segment& s) {
  return kDotsPairs && s.x->dtype == RORA_BF16 && s.w.dtype == RORA_BF16;
}

static inline int64_t operand_bytes(const Segment& s, int64_t tokens) {
  return round_up(tokens * s.k * (multiplies_pairs(s) ? 2 : 4), 64);
}

static inline bool same_operand(const Segment& a, const Segment& b) {
  return a.x == b.x && a.row == b.row && a.k == b.k && multiplies_pairs(a) == multiplies_pairs(b);
}

static inline void gather_operand(const Segment& s, int64_t tokens, char* target) {
  const int64_t pairs = s.k / 2;
  if (multiplies_pairs(s)) {
    const uint16_t* x = static_cast<const uint16_t*>(s.x->data) + s.row * kPanel;
    uint16_t* out = reinterpret_cast<uint16_t*>(target);
    for (int64_t t = 0; t < tokens; ++t, out += s.k) {
      for (int64_t p = 0; p < pairs; ++p)
        __builtin_memcpy(out + 2 * p, x + p * 2 * kPanel + 2 * t, 4);
      if (s.k & 1) out[s.k - 1] = x[pairs * 2 * kPanel + 2 * t];
    }
  } else {
    float* out = reinterpret_cast<float*>(target);
    for (int64_t t = 0; t < tokens; ++t)
      for (int64_t k = 0; k < s.k; ++k) *out++ = get(*s.x, t, s.row + k);
  }
}

// Where the tokens of each job's segments stand in the scratch.
struct FewOperands {
  char* at[kMaxJobs][8];
};

// Gathers what segments read; projections of a group share it.
static inline FewOperands gather_operands(rora_context& context, const PanelJob* jobs, int count,
                                          int64_t tokens) {
  int64_t most = 0;
  for (int j = 0; j < count; ++j)
    for (int s = 0; s < jobs[j].segments; ++s) most += operand_bytes(jobs[j].segment[s], tokens);
  context.pool->reserve(most);
  char* free = context.pool->scratch(0);  // the tasks only read it
  FewOperands operands = {};
  for (int j = 0; j < count; ++j)
    for (int s = 0; s < jobs[j].segments; ++s) {
      const Segment& segment = jobs[j].segment[s];
      if (j > 0 && s < jobs[0].segments && same_operand(segment, jobs[0].segment[s])) {
        operands.at[j][s] = operands.at[0][s];
        continue;
      }
      operands.at[j][s] = free;
      gather_operand(segment, tokens, free);
      free += operand_bytes(segment, tokens);
    }
  return operands;
}

// Up to kFewGroup rows from n on.
static inline void run_few_group(const PanelJob& job, int64_t n, int64_t rows, bool more,
                                 int64_t tokens, char* const* operands) {
  float dots[kFewGroup * kFewTokens] = {};
  for (int s = 0; s < job.segments; ++s) {
    const Segment& segment = job.segment[s];
    if (segment.w.dtype == RORA_F32)
      dot_few_segment<WidenedProduct<float>>(segment, n, rows, more, tokens, operands[s], dots);
#if defined(__AVX512BF16__)
    else if (multiplies_pairs(segment))
      dot_few_segment<PairProduct>(segment, n, rows, more, tokens, operands[s], dots);
#endif
    else
      dot_few_segment<WidenedProduct<uint16_t>>(segment, n, rows, more, tokens, operands[s], dots);
  }
  for (int64_t r = 0; r < rows; ++r) {
    const float scale = job.row_scale ? job.scale * job.row_scale[n + r] : job.scale;
    const float bias = job.bias ? job.bias[n + r] : 0.0f;
    for (int64_t t = 0; t < tokens; ++t) {
      float value = dots[r * kFewTokens + t] * scale + bias;
      if (job.add) value += get(*job.add, t, job.y_row + n + r);
      set(*job.y, t, job.y_row + n + r, value);
    }
  }
}

// Rows of a task: whole groups, so that no pair of rows, which share a word, has two tasks.
static inline int64_t few_rows(const PanelJob& job) {
  int64_t bytes = 0;
  for (int s = 0; s < job.segments; ++s)
    bytes += job.segment[s].k * (job.segment[s].w.dtype == RORA_F32 ? 4 : 2);
  return kFewGroup * max_of(1, kFewTaskBytes / (kFewGroup * max_of(1, bytes)));
}

// kStore jobs on untransposed, unscaled matrices without dropout.
static inline void run_few(rora_context& context, const PanelJob* jobs, int count, int64_t tokens) {
  const FewOperands operands = gather_operands(context, jobs, count, tokens);
  int64_t start[kMaxJobs + 1] = {};
  for (int j = 0; j < count; ++j) start[j + 1] = start[j] + blocks_of(jobs[j].n, few_rows(jobs[j]));
  parallel(*context.pool, start[count], [&](int64_t task, int32_t) {
    int j = 0;
    while (task >= start[j + 1]) ++j;
    const int64_t rows = few_rows(jobs[j]), first = (task - start[j]) * rows;
    const int64_t last = min_of(jobs[j].n, first + rows);
    for (int64_t n = first; n < last; n += kFewGroup)
      run_few_group(jobs[j], n, min_of(kFewGroup, last - n), n + kFewGroup < last, tokens,
                    operands.at[j]);
  });
}

}  // namespace rora::RORA_LEVEL
