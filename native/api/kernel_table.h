// What a backend provides: one function per operator, each taking the context and an op struct
// whose arguments the entry point has checked. Reading a table tells what exists.
#pragma once

#include "rora/rora.h"

namespace rora {

// Which of the fields an operator reads stands beside it in KernelTable.
struct LinearOp {
  const rora_linear* linear;
  const rora_batch* batch;  // NULL without dropout
  rora_activation* x;
  const rora_activation* residual;
  rora_activation* y;
  rora_activation* dy;
  rora_activation* dx;
  bool accumulate;
};

// |V[n]| of DoRA from base_squares[n] = |W[n]|^2 (adapter.h has the formula), and what rows are
// multiplied by: magnitude[n] / |V[n]|. A row of V that is zero has no direction; its output is
// zero whatever its scale, which is 0.
struct DoraNormsOp {
  const rora_adapter* adapter;
  const rora_weight* weight;
  float* norms;      // [out_features]
  float* row_scale;  // [out_features]
};

struct EmbeddingOp {
  const rora_weight* table;
  const rora_batch* batch;
  rora_activation* y;
  const rora_activation* dy;
};

struct RmsNormOp {
  const rora_activation* x;
  const float* weight;
  float eps;
  rora_activation* y;
  const rora_activation* dy;
  float* weight_gradient;
  rora_activation* dx;
};

struct RopeOp {
  const rora_rope* rope;
  const rora_batch* batch;
  int64_t column, heads;
  bool inverse;
  rora_activation* x;
};

struct SwigluOp {
  const rora_activation* gate_up;
  int64_t up_column;
  rora_activation* y;
  const rora_activation* dy;
  rora_activation* d_gate_up;
};

struct AttentionOp {
  rora_attention_shape shape;
  const rora_batch* batch;
  const rora_activation* qkv;
  rora_activation* cache;
  rora_activation* y;
  const rora_activation* out;  // backward: the y of the forward pass
  float* lse;                  // written by forward unless NULL, read by backward
  const rora_activation* dy;
  rora_activation* d_qkv;
};

struct CrossEntropyOp {
  const rora_weight* head;
  const rora_batch* batch;
  const rora_activation* x;
  double divisor;
  double* loss_sum;
  float* token_loss;
  rora_activation* dx;
};

struct SumOfSquaresOp {
  int64_t count;
  const float* values;
  double* sum;
};

struct AdamwOp {
  rora_adamw_step step;
  int64_t count;
  float *values, *gradients, *first_moments, *second_moments;
};

struct AddOp {
  const rora_activation* source;
  rora_activation* target;
};

// Columns of row-major host memory and rows [row, row + columns) of an activation's panels.
struct RowsOp {
  rora_activation* activation;
  int64_t row, columns;
  int64_t token, tokens;  // panels_to_rows: of the activation; rows_to_panels takes all of them
  void* rows;             // [tokens, columns]; only read by rows_to_panels
  rora_dtype dtype;       // of the host memory, F32 or BF16
  int64_t stride;         // elements
  bool add;               // panels_to_rows: rows += panels
};

// One thread's multiplications and additions in registers alone.
struct PeakOp {
  rora_dtype dtype;
  int64_t rounds;
  const float* start;  // [kPeakFloats], near 1: unknown to the compiler
  float result;        // so that the loop has one
  double flop;         // receives the FLOP done
};
constexpr int64_t kPeakFloats = 256;

// One pass over `count` floats, a multiple of kStreamFloats, by all threads.
struct StreamOp {
  int64_t count;
  const float* values;
  float* results;  // [threads]
};
constexpr int64_t kStreamFloats = 256;

struct KernelTable {
  const char* name;  // the instruction set, as rora_context_isa() reports it
  void (*linear_shrink)(rora_context&, const LinearOp&);    // batch, x
  void (*linear_forward)(rora_context&, const LinearOp&);   // batch, x, residual, y
  void (*linear_backward)(rora_context&, const LinearOp&);  // batch, x, dy, dx, accumulate
  void (*dora_norms)(rora_context&, const DoraNormsOp&);
  void (*embedding_forward)(rora_context&, const EmbeddingOp&);
  void (*embedding_backward)(rora_context&, const EmbeddingOp&);
  void (*rmsnorm_forward)(rora_context&, const RmsNormOp&);
  void (*rmsnorm_backward)(rora_context&, const RmsNormOp&);
  void (*rope)(rora_context&, const RopeOp&);
  void (*swiglu_forward)(rora_context&, const SwigluOp&);
  void (*swiglu_backward)(rora_context&, const SwigluOp&);
  void (*attention_forward)(rora_context&, const AttentionOp&);
  void (*attention_backward)(rora_context&, const AttentionOp&);
  void (*attention_cached)(rora_context&, const AttentionOp&);
  void (*cross_entropy)(rora_context&, const CrossEntropyOp&);
  void (*sum_of_squares)(rora_context&, const SumOfSquaresOp&);
  void (*adamw)(rora_context&, const AdamwOp&);
  void (*add)(rora_context&, const AddOp&);
  void (*rows_to_panels)(rora_context&, const RowsOp&);  // zeroes lanes past the last token
  void (*panels_to_rows)(rora_context&, const RowsOp&);
  void (*peak)(PeakOp&);                           // of the calling thread; NULL: not measured
  void (*stream)(rora_context&, const StreamOp&);  // likewise
};

// cpu/reference: plain loops, sums in double; the specification.
const KernelTable& reference_kernels();
// cpu/simd compiled for each instruction set; the last four on x86-64 only.
const KernelTable* portable_kernels();
const KernelTable* avx2_kernels();
const KernelTable* avx512_kernels();
const KernelTable* avx512bf16_kernels();
const KernelTable* amx_kernels();

}  // namespace rora
