// The objects behind the C API's opaque handles. Entry points (api/*.cpp) check arguments and fill
// an op struct (api/kernel_table.h); backends read these structs and nothing else.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "api/kernel_table.h"
#include "rora/rora.h"

namespace rora {
class ThreadPool;
struct Device;
class WeightMemory;
struct WeightMemoryDelete {
  void operator()(WeightMemory* memory) const noexcept;
};

constexpr int64_t even(int64_t n) { return n + (n & 1); }
constexpr int64_t round_up(int64_t n, int64_t multiple) {
  return (n + multiple - 1) / multiple * multiple;
}
}  // namespace rora

struct rora_context {
  const rora::Device* device;
  const rora::KernelTable* kernels;
  rora::ThreadPool* pool;
  int64_t bytes;  // of device memory handed out
  std::unique_ptr<rora::WeightMemory, rora::WeightMemoryDelete> weight_memory;  // when needed
  void* backend;  // what a backend other than the CPU's keeps
};

// Row-major [out_features, in_features], rows `pitch` elements apart; kernels pack blocks of it
// into their scratch on the fly, so that one copy serves the forward pass, the input gradient and
// every number of tokens.
struct rora_weight {
  rora_context* context;
  rora_dtype dtype;
  int64_t out_features, in_features;
  int64_t pitch;  // in_features on the CPU
  void* data;
  uint64_t version;  // another after each write, and of each weight
  float* master;     // bound by rora_weight_train, else NULL
  float* gradient;   // likewise
};

// On the CPU token panels (research: lanes are tokens, weights are broadcast). A panel holds 64
// tokens of all features: `rows` = even(width) + even(tail) rows of 64 floats, or, in bf16, rows /
// 2 rows of 64 pairs (feature 2i, feature 2i + 1). cpu/panel.h has the addressing. Tokens past the
// last one are kept finite; in gradients they are zero.
struct rora_activation {
  rora_context* context;
  rora_dtype dtype;
  int64_t max_tokens, tokens;
  int64_t width, tail;
  int64_t rows;
  void* data;
};

// On the host, where entry points check them, and on the device: `device` has the five arrays one
// after the other, each with `room` elements, max_tokens rounded up to a whole panel.
struct rora_batch {
  rora_context* context;
  int64_t max_tokens, tokens, room;
  int32_t *ids, *labels, *positions, *begins, *order;
  int32_t* device;                 // the host's own arrays on the CPU
  std::vector<int32_t> host_copy;  // of them elsewhere
};

struct rora_adapter {
  rora_context* context;
  int64_t out_features, in_features, rank;
  int64_t train_rank;  // that many rows of lora_A and columns of lora_B receive gradients
  float scaling;
  const float *lora_A, *lora_B, *magnitude;
  float *lora_A_gradient, *lora_B_gradient, *magnitude_gradient;
  // DoRA only, set by rora_adapter_refresh:
  const rora_weight* norm_weight;  // whose norms base_squares holds, as of norm_version
  uint64_t norm_version;
  double* base_squares;  // [out_features] |W[n]|^2
  float* norms;          // [out_features] |V[n]|
  float* row_scale;      // [out_features] magnitude[n] / |V[n]|
};

struct rora_linear {
  struct Projection {
    const rora_weight* weight;
    const float* bias;
    float* bias_gradient;
    const rora_adapter* adapter;
  };
  rora_context* context;
  int32_t projections;
  Projection projection[4];
  float dropout;
  uint64_t seed, step;
  uint32_t stream;

  int64_t in_features() const { return projection[0].weight->in_features; }
  // First column of projection i in the output; column(projections) is the output's width.
  int64_t column(int32_t i) const {
    int64_t sum = 0;
    for (int32_t j = 0; j < i; ++j) sum += rora::even(projection[j].weight->out_features);
    return sum;
  }
  // First column of projection i behind even(width) of its input and, likewise, of its output.
  int64_t tail(int32_t i) const {
    int64_t sum = 0;
    for (int32_t j = 0; j < i; ++j)
      sum += projection[j].adapter ? rora::even(projection[j].adapter->rank) : 0;
    return sum;
  }
};

// Blocks of memory that calls on row-major memory share, in roles; each as large as the largest
// call needed. What they hold between calls is meaningless.
struct rora_row_workspace {
  struct Block {
    void* data;
    int64_t bytes;
  };
  rora_context* context;
  Block x, y, dx, adapter;
};

struct rora_rope {
  rora_context* context;
  int64_t positions, head_dim;
  std::vector<float> inverse_frequencies;
  // [positions in use, head_dim / 2], which rora_rope_apply lengthens: what a file calls its
  // context may be far more than anybody's memory.
  mutable std::vector<float> cosines, sines;
  mutable float* device = nullptr;  // both, one behind the other, where the host's cannot be read
  mutable int64_t on_device = 0;    // cosines that stand there
};
