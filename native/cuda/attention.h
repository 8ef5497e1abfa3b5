// Causal attention with grouped queries over packed documents, on pitched rows. T is float or bf16.
// Token t attends to rows begins[t] .. begins[t] + positions[t] of the keys and values; queries of
// head h meet the keys of head h / (heads / kv_heads). Meaning: rora/layers.h and
// cpu/reference/attention.cpp.
//
// head_dim is even and at most kMaxHeadDim. All pointers are to the first column of the first row,
// columns even, pitches multiples of 8 elements. Where head_dim and the columns are multiples of 16
// bytes, as in every model in use, tiles are copied 16 bytes at a time.
//
// Rows that no token attends to may hold anything. A row that is not finite reaches those who
// attend to it and, as tiles are multiplied whole, may reach tokens that share a tile with them.
#pragma once

#include "cuda/device.h"
#include "cuda/launch.h"

namespace rora::cuda {

constexpr int64_t kMaxHeadDim = 256;

template <class T>
struct AttentionInputs {
  int64_t tokens, heads, kv_heads, head_dim;
  const T* q;  // [tokens, heads * head_dim]
  int64_t q_pitch;
  const T *k, *v;  // [rows, kv_heads * head_dim]
  int64_t kv_pitch;
  const int32_t *begins, *positions;  // [tokens]
};

// y = softmax(q k^T / sqrt(head_dim)) v.
template <class T>
struct AttentionForward {
  AttentionInputs<T> in;
  T* y;  // [tokens, heads * head_dim]
  int64_t y_pitch;
  float* lse;  // [heads, lse_pitch], the natural log of the sum of exponentials; or NULL
  int64_t lse_pitch;
};

// dq, dk and dv are overwritten; keys and values are rows of the tokens themselves.
template <class T>
struct AttentionBackward {
  AttentionInputs<T> in;
  const T* y;  // as the forward pass wrote it
  int64_t y_pitch;
  const float* lse;
  int64_t lse_pitch;
  const T* dy;
  int64_t dy_pitch;
  T *dq, *dk, *dv;
  int64_t dq_pitch, dkv_pitch;
  float* workspace;  // attention_workspace() floats, aligned to 16 bytes
};

// Stores the tokens' new keys and values at cache rows begins[t] + positions[t], which are all
// different, and attends to the cache.
template <class T>
struct AttentionCached {
  AttentionInputs<T> in;   // kv_pitch is the cache's; k and v are not read
  const T *new_k, *new_v;  // [tokens, kv_heads * head_dim]
  int64_t new_pitch;
  T *cache_k, *cache_v;  // [rows, kv_heads * head_dim]
  T* y;
  int64_t y_pitch;
  bool tiles;        // attention_prefers_tiles(): prompts; both ways give the same up to rounding
  int32_t splits;    // attention_splits(); the result depends on it up to rounding
  float* workspace;  // attention_cached_workspace() floats
};

// Floats of AttentionBackward::workspace.
int64_t attention_workspace(int64_t tokens, int64_t heads);

// Into how many parts, each for a block of its own, a token's `rows` keys (at most) are divided.
int32_t attention_splits(int64_t tokens, int64_t kv_heads, int64_t rows);
int64_t attention_cached_workspace(int64_t tokens, int64_t heads, int64_t head_dim, int32_t splits);

// Whether tokens stand so close that tiles of 64 tokens are less work than one token at a time.
// Reads the batch's arrays on the host.
bool attention_prefers_tiles(int64_t tokens, const int32_t* begins, const int32_t* positions);

template <class T>
const char* attention_forward(Stream stream, const AttentionForward<T>& op);
template <class T>
const char* attention_backward(Stream stream, const AttentionBackward<T>& op);
template <class T>
const char* attention_cached(Stream stream, const AttentionCached<T>& op);

}  // namespace rora::cuda
