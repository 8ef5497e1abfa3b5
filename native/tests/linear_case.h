// One linear group with everything it can have, run on one level, for tests that compare runs.
#pragma once

#include <memory>

#include "testing.h"

namespace rora::testing {

struct ProjectionSpec {
  int64_t out;
  int64_t rank = 0;  // 0: no adapter
  bool dora = false;
  bool bias = false;
  bool trained = false;    // the weight itself, and its bias
  int64_t train_rank = 0;  // 0: all
};

struct LinearSpec {
  int64_t tokens, in;
  std::vector<ProjectionSpec> projections;
  rora_dtype dtype = RORA_F32;
  float scaling = 0.5f;
  bool residual = false;
  bool accumulate = false;
  float dropout = 0.0f;
};

// The operands, row-major. absolute() gives the same case with every operand's absolute value: what
// the reference makes of it is sum |a b| of each entry.
struct LinearData {
  struct Projection {
    std::vector<float> weight, bias, lora_A, lora_B, row_scale;  // row_scale: DoRA, after the norms
  };
  std::vector<float> x, residual, dy, dx;
  std::vector<Projection> projections;
  std::vector<int32_t> order;

  static LinearData random(const LinearSpec& spec, uint64_t seed);
  static LinearData integers(const LinearSpec& spec, uint64_t seed);
  LinearData absolute() const;
};

struct LinearResult {
  std::vector<float> y, h, dx;
  struct Projection {
    std::vector<float> dA, dB, dm, dW, dbias, row_scale, norms;
  };
  std::vector<Projection> projections;
};

// Forward and backward on `context`. Where data.projections[i].row_scale is given, the magnitudes
// are chosen so that the rows have that scale; else magnitude n is 1 + n % 3.
LinearResult run_linear(rora_context* context, const LinearSpec& spec, const LinearData& data);

}  // namespace rora::testing
