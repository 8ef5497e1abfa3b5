// Output head and cross entropy:  logits = X head^T,  loss = sum_t lse(logits_t) -
// logits_t[label_t], dlogits = (softmax - onehot) / divisor,  dX = dlogits head,  dhead +=
// dlogits^T X.
//
// Tokens with a label are gathered into panels of their own; a chunk of at most 256 of them goes
// through
//   1. the panel GEMM: logits [vocabulary][64] floats a panel,
//   2. maximum and sum of exponentials over stretches of 1024 rows (256 KB, so that the second
//   sweep
//      over them comes from L2), combined in double and in order,
//   3. the gradient, in place in fp32, into bf16 panels of its own otherwise,
//   4. the panel GEMM with the transposed head; the rows are scattered back.
// Logits never leave a chunk. Traffic beside the GEMMs: about 5 times the chunk's logits.
// Reference: cpu/reference/loss.cpp.
#pragma once

#include "cpu/simd/embedding.h"
#include "cpu/simd/head_product.h"
#include "cpu/simd/math.h"

namespace rora::RORA_LEVEL {

constexpr int64_t kChunkTokens = 256;
constexpr int64_t kChunkBytes = int64_t(96) << 20;  // of logits and their gradient
constexpr int64_t kVocabularyRows = 1024;           // in a stretch
constexpr int64_t kGradientRows = 96;               // of dhead in a task

// A token of a chunk: what its column of logits came to.
struct TokenLoss {
  float maximum, factor;  // softmax / divisor = exp(logit - maximum) * factor
  float label_logit;
  double loss;
};

struct LossChunk {
  const int32_t* tokens;  // their places in the batch
  int64_t count;
  rora_activation x, dx, logits, gradient;
  float *maxima, *sums;  // [panels][stretches][64]
  TokenLoss* result;     // [count]
  float* x_rows;         // [panels][hidden / 64][64 tokens][64 features] for dhead
};

static inline int64_t loss_stretches(const CrossEntropyOp& op) {
  return blocks_of(op.head->out_features, kVocabularyRows);
}

// Tokens of a chunk: whole panels within the byte limit, at least one.
static inline int64_t chunk_tokens(const CrossEntropyOp& op, int64_t supervised) {
  const int64_t bytes = even(op.head->out_features) * (op.x->dtype == RORA_BF16 ? 6 : 4) * kPanel;
  const int64_t most = min_of(kChunkTokens / kPanel, max_of(1, kChunkBytes / bytes));
  return min_of(most, panels(supervised)) * kPanel;
}

// Hands out scratch in multiples of 64 bytes; with NULL it only counts.
struct LossScratch {
  char* memory;
  int64_t used;
  void* take(int64_t bytes) {
    char* taken = memory ? memory + used : nullptr;
    used += round_up(bytes, 64);
    return taken;
  }
};

static inline rora_activation take_activation(LossScratch& scratch, const CrossEntropyOp& op,
                                              rora_dtype dtype, int64_t tokens, int64_t width) {
  const int64_t rows = even(width), size = dtype == RORA_F32 ? 4 : 2;
  void* data = scratch.take(rows * tokens * size);
  return {op.x->context, dtype, tokens, 0, width, 0, rows, data};
}

static inline LossChunk take_chunk(LossScratch& scratch, const CrossEntropyOp& op, int64_t tokens) {
  const int64_t hidden = op.head->in_features, vocabulary = op.head->out_features;
  LossChunk chunk = {};
  chunk.x = take_activation(scratch, op, op.x->dtype, tokens, hidden);
  chunk.dx = take_activation(scratch, op, op.x->dtype, op.dx ? tokens : 0, hidden);
  chunk.logits = take_activation(scratch, op, RORA_F32, tokens, vocabulary);
  chunk.gradient = chunk.logits;
  if (op.x->dtype == RORA_BF16)
    chunk.gradient = take_activation(scratch, op, RORA_BF16, op.dx ? tokens : 0, vocabulary);
  const int64_t statistics = tokens * loss_stretches(op) * int64_t(sizeof(float));
  chunk.maxima = static_cast<float*>(scratch.take(statistics));
  chunk.sums = static_cast<float*>(scratch.take(statistics));
  chunk.result = static_cast<TokenLoss*>(scratch.take(tokens * int64_t(sizeof(TokenLoss))));
  const int64_t x_rows = op.dx && op.head->gradient ? round_up(hidden, kPanel) * tokens : 0;
  chunk.x_rows = static_cast<float*>(scratch.take(x_rows * int64_t(sizeof(float))));
  return chunk;
}

// Elements of type Word (a float, or the two bf16 of a pair) of one lane of a panel: word i at
// lane + i * 64, so a token is moved word by word.
static inline int64_t token_words(const rora_activation& a) {
  return a.dtype == RORA_F32 ? even(a.width) : even(a.width) / 2;
}

static inline uint32_t* token_word(const rora_activation& a, int64_t token) {
  const int64_t words = a.dtype == RORA_F32 ? a.rows : a.rows / 2;
  return static_cast<uint32_t*>(a.data) + token / kPanel * words * kPanel + token % kPanel;
}

static inline void gather_tokens(const CrossEntropyOp& op, LossChunk& chunk) {
  const int64_t words = token_words(*op.x);
  parallel(*op.x->context->pool, panels(chunk.count), [&](int64_t panel, int32_t) {
    for (int64_t t = panel * kPanel; t < (panel + 1) * kPanel; ++t) {
      uint32_t* target = token_word(chunk.x, t);
      const uint32_t* source = t < chunk.count ? token_word(*op.x, chunk.tokens[t]) : nullptr;
      for (int64_t i = 0; i < words; ++i) target[i * kPanel] = source ? source[i * kPanel] : 0u;
    }
  });
}

static inline void scatter_tokens(const CrossEntropyOp& op, const LossChunk& chunk) {
  const int64_t words = token_words(*op.x);
  for (int64_t t = 0; t < chunk.count; ++t) {
    const uint32_t* source = token_word(chunk.dx, t);
    uint32_t* target = token_word(*op.dx, chunk.tokens[t]);
    for (int64_t i = 0; i < words; ++i) target[i * kPanel] = source[i * kPanel];
  }
}

static inline void multiply(rora_context& context, const rora_activation& x, int64_t k, Matrix w,
                            int64_t n, rora_activation& y) {
  PanelJob job;
  job.segments = 1;
  job.segment[0] = {&x, 0, k, w, -1};
  job.n = n;
  job.y = &y;
  run_jobs(context, &job, 1, x.tokens, nullptr);
}

// Maximum and sum of exp(logit - maximum) of a stretch of rows of one panel.
static inline void stretch_statistics(const CrossEntropyOp& op, const LossChunk& chunk,
                                      int64_t panel, int64_t stretch) {
  const int64_t first = stretch * kVocabularyRows;
  const int64_t last = min_of(op.head->out_features, first + kVocabularyRows);
  const float* logits = panel_data<float>(chunk.logits, panel);
  const int64_t at = (panel * loss_stretches(op) + stretch) * kPanel;
  for (int lane = 0; lane < kPanel; lane += kLanes) {
    vfloat maximum = load(logits + first * kPanel + lane), sum = {};
    for (int64_t n = first; n < last; ++n)
      maximum = max_of(maximum, load(logits + n * kPanel + lane));
    for (int64_t n = first; n < last; ++n) sum += exp(load(logits + n * kPanel + lane) - maximum);
    store(chunk.maxima + at + lane, maximum);
    store(chunk.sums + at + lane, sum);
  }
}

static inline TokenLoss token_loss(const CrossEntropyOp& op, const LossChunk& chunk, int64_t t) {
  const int64_t stretches = loss_stretches(op), lane = t % kPanel;
  const int64_t at = t / kPanel * stretches * kPanel + lane;
  double maximum = double(chunk.maxima[at]), sum = 0;
  for (int64_t i = 1; i < stretches; ++i) {
    const double other = double(chunk.maxima[at + i * kPanel]);
    // Written so that a NaN stays.
    maximum = other <= maximum ? maximum : other;
  }
  for (int64_t i = 0; i < stretches; ++i)
    sum += double(chunk.sums[at + i * kPanel]) *
           __builtin_exp(double(chunk.maxima[at + i * kPanel]) - maximum);
  const int64_t label = op.batch->labels[chunk.tokens[t]];
  const float logit = panel_data<float>(chunk.logits, t / kPanel)[label * kPanel + lane];
  return {float(maximum), float(1 / (sum * op.divisor)), logit,
          maximum + __builtin_log(sum) - double(logit)};
}

// dlogits of a stretch of rows of one panel; lanes past the last token become zero.
template <class T>
static inline void stretch_gradient(const CrossEntropyOp& op, const LossChunk& chunk, int64_t panel,
                                    int64_t stretch) {
  const int64_t vocabulary = op.head->out_features, first = stretch * kVocabularyRows;
  const int64_t last = min_of(even(vocabulary), first + kVocabularyRows);
  const int active = active_lanes(chunk.count, panel);
  const float* logits = panel_data<float>(chunk.logits, panel);
  T* gradient = panel_data<T>(chunk.gradient, panel);
  float maximum[kPanel] = {}, factor[kPanel] = {};
  for (int lane = 0; lane < active; ++lane) {
    maximum[lane] = chunk.result[panel * kPanel + lane].maximum;
    factor[lane] = chunk.result[panel * kPanel + lane].factor;
  }
  for (int64_t n = first; n < last; n += 2)
    for (int lane = 0; lane < kPanel; lane += kLanes) {
      const vfloat m = load(maximum + lane), f = load(factor + lane);
      const RowPair logit = load_pair(logits, n / 2, lane);
      RowPair g = {exp(logit.even - m) * f, exp(logit.odd - m) * f};
      if (n + 1 == vocabulary) g.odd = vfloat{};
      store_pair(gradient, n / 2, lane, keep(g, lane, active));
    }
  for (int lane = 0; lane < active; ++lane) {
    const TokenLoss& token = chunk.result[panel * kPanel + lane];
    const int64_t label = op.batch->labels[chunk.tokens[panel * kPanel + lane]];
    if (label < first || label >= last) continue;
    const float softmax = exp(splat(token.label_logit - token.maximum))[0] * token.factor;
    put(gradient, label, lane, softmax - float(1 / op.divisor));
  }
}

template <class Body>
static inline void for_stretches(const CrossEntropyOp& op, const LossChunk& chunk,
                                 const Body& body) {
  const int64_t stretches = loss_stretches(op);
  parallel(*op.x->context->pool, panels(chunk.count) * stretches,
           [&](int64_t task, int32_t) { body(task / stretches, task % stretches); });
}

static inline void chunk_losses(const CrossEntropyOp& op, LossChunk& chunk) {
  multiply(*op.x->context, chunk.x, op.head->in_features, weight_rows(*op.head),
           op.head->out_features, chunk.logits);
  for_stretches(op, chunk, [&](int64_t panel, int64_t stretch) {
    stretch_statistics(op, chunk, panel, stretch);
  });
  for (int64_t t = 0; t < chunk.count; ++t) {
    chunk.result[t] = token_loss(op, chunk, t);
    *op.loss_sum += chunk.result[t].loss;
    if (op.token_loss) op.token_loss[chunk.tokens[t]] = float(chunk.result[t].loss);
  }
}

// x_rows: the chunk's X with tokens as rows, 64 features at a time.
static inline void transpose_inputs(const CrossEntropyOp& op, const LossChunk& chunk) {
  const int64_t blocks = blocks_of(op.head->in_features, kPanel);
  parallel(*op.x->context->pool, panels(chunk.count) * blocks, [&](int64_t task, int32_t) {
    const int64_t panel = task / blocks, first = task % blocks * kPanel;
    float* target = chunk.x_rows + task * kPanel * kPanel;
    for (int64_t i = 0; i < kPanel; ++i)
      for (int lane = 0; lane < kPanel; lane += kLanes) {
        const vfloat row = first + i >= op.head->in_features ? vfloat{}
                           : op.x->dtype == RORA_F32
                               ? load_row(panel_data<float>(chunk.x, panel), first + i, lane)
                               : load_row(panel_data<uint16_t>(chunk.x, panel), first + i, lane);
        for (int j = 0; j < kLanes; ++j) target[(lane + j) * kPanel + i] = row[j];
      }
  });
}

// dhead rows [n, n + rows) += dlogits^T X, 64 features at a time.
static inline void head_gradient_rows(const CrossEntropyOp& op, const LossChunk& chunk, int64_t n,
                                      int64_t rows, float* memory) {
  const int64_t hidden = op.head->in_features, blocks = blocks_of(hidden, kPanel);
  float *dlogits = memory, *sum = memory + panels(chunk.count) * rows * kPanel;
  for (int64_t p = 0; p < panels(chunk.count); ++p)
    widen_rows(chunk.gradient, p, n, rows, dlogits + p * rows * kPanel, kPanel);
  for (int64_t block = 0; block < blocks; ++block) {
    for (int64_t p = 0; p < panels(chunk.count); ++p)
      head_product(rows, features_by_tokens(dlogits + p * rows * kPanel), kPanel,
                   chunk.x_rows + (p * blocks + block) * kPanel * kPanel, sum, p > 0);
    const int64_t columns = min_of(kPanel, hidden - block * kPanel);
    for (int64_t i = 0; i < rows; ++i) {
      float* target = op.head->gradient + (n + i) * hidden + block * kPanel;
      for (int64_t j = 0; j < columns; ++j) target[j] += sum[i * kPanel + j];
    }
  }
}

static inline void head_gradient(const CrossEntropyOp& op, const LossChunk& chunk) {
  transpose_inputs(op, chunk);
  ThreadPool& pool = *op.x->context->pool;
  parallel(pool, blocks_of(op.head->out_features, kGradientRows),
           [&](int64_t task, int32_t thread) {
             const int64_t n = task * kGradientRows;
             head_gradient_rows(op, chunk, n, min_of(kGradientRows, op.head->out_features - n),
                                reinterpret_cast<float*>(pool.scratch(thread)));
           });
}

static inline void chunk_gradients(const CrossEntropyOp& op, LossChunk& chunk) {
  for_stretches(op, chunk, [&](int64_t panel, int64_t stretch) {
    with_type(chunk.gradient,
              [&](auto type) { stretch_gradient<decltype(type)>(op, chunk, panel, stretch); });
  });
  multiply(*op.x->context, chunk.gradient, op.head->out_features, weight_columns(*op.head),
           op.head->in_features, chunk.dx);
  scatter_tokens(op, chunk);
  if (op.head->gradient) head_gradient(op, chunk);
}

static inline void clear_gradient(const CrossEntropyOp& op) {
  parallel(*op.x->context->pool, panels(op.x->tokens), [&](int64_t panel, int32_t) {
    const uint64_t words = uint64_t(token_words(*op.dx) * kPanel);
    __builtin_memset(token_word(*op.dx, panel * kPanel), 0, words * 4);
  });
}

// The scratch of a whole call, shared by all threads, and the supervised tokens listed in it.
static inline int32_t* list_supervised(LossScratch& scratch, const CrossEntropyOp& op) {
  int32_t* list = static_cast<int32_t*>(scratch.take(op.x->tokens * int64_t(sizeof(int32_t))));
  int64_t count = 0;
  for (int64_t t = 0; list && t < op.x->tokens; ++t)
    if (op.batch->labels[t] >= 0) list[count++] = int32_t(t);
  return list;
}

static inline void cross_entropy(rora_context& context, const CrossEntropyOp& op) {
  int64_t supervised = 0;
  for (int64_t t = 0; t < op.x->tokens; ++t) supervised += op.batch->labels[t] >= 0;
  if (op.token_loss)
    for (int64_t t = 0; t < op.x->tokens; ++t) op.token_loss[t] = 0.0f;
  *op.loss_sum = 0;
  if (op.dx) clear_gradient(op);
  if (supervised == 0) return;

  // Each thread's own part comes first, as the GEMM uses it; thread 0's goes on with what all
  // share.
  const int64_t most = chunk_tokens(op, supervised);
  const int64_t own =
      max_of(kGemmScratchBytes, (most + kPanel) * kGradientRows * int64_t(sizeof(float)));
  LossScratch counted = {nullptr, own};
  list_supervised(counted, op);
  take_chunk(counted, op, most);
  context.pool->reserve(counted.used);
  LossScratch scratch = {context.pool->scratch(0), own};
  const int32_t* tokens = list_supervised(scratch, op);
  LossChunk chunk = take_chunk(scratch, op, most);
  for (int64_t first = 0; first < supervised; first += most) {
    chunk.tokens = tokens + first;
    chunk.count = min_of(most, supervised - first);
    for (rora_activation* a : {&chunk.x, &chunk.dx, &chunk.logits, &chunk.gradient})
      a->tokens = chunk.count;
    gather_tokens(op, chunk);
    chunk_losses(op, chunk);
    if (op.dx) chunk_gradients(op, chunk);
  }
}

}  // namespace rora::RORA_LEVEL
