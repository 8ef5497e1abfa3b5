// One linear group with its data; its results by the C API on any level, and by plain loops over
// row-major doubles, with a derived bound for each value. The loops are written from the formulas,
// apart from cpu/reference/linear.cpp, so that they test the reference too.
#pragma once

#include <string>
#include <vector>

#include "handles.h"

namespace rora::testing {

struct ProjectionShape {
  int64_t out = 1;
  int64_t rank = 0;  // 0: no adapter
  bool dora = false;
  bool bias = false;
};

struct LinearShape {
  int64_t tokens = 1, in = 1;
  std::vector<ProjectionShape> projections;
  rora_dtype dtype = RORA_F32;         // of the activations
  rora_dtype weight_dtype = RORA_F32;  // of the weights
  bool integers = false;               // small ones: every result is exact
  float dropout = 0.0f;
  bool residual = false;
  bool accumulate = false;
  bool trained_weights = false;
  int64_t train_rank = 0;  // 0: all

  std::string name() const;
};

struct ProjectionData {
  ProjectionShape shape;
  std::vector<float> w, bias, a, b, magnitude;
  float scaling = 1.0f;
  std::vector<float> fixed_norms;  // DoRA: taken instead of |V| for the row scale where not empty
};

// Activations of several columns stand here projection after projection, each [tokens, out].
struct LinearData {
  LinearShape shape;
  std::vector<float> x, residual, dy, old_dx;
  std::vector<ProjectionData> projections;
  std::vector<int32_t> order;
  uint64_t seed = 20250104315u, step = 7;
  uint32_t stream = 12;

  LinearData(const LinearShape& linear_shape, uint64_t random_seed);
};

// What a gradient holds before the backward pass adds to it.
float gradient_start(size_t i);

struct ProjectionResult {
  std::vector<float> norms, y, h, g, da, db, dm, dw, dbias;
};

struct LinearResult {
  std::vector<ProjectionResult> projections;
  std::vector<float> dx;
};

// Runs forward and backward on one level. Unused lanes of x hold garbage on purpose.
LinearResult run_linear(const LinearData& data, const std::string& level, int threads = 2);

struct Bounded {
  std::vector<double> value, bound;
};

struct ProjectionExpected {
  Bounded y, h, g, da, db, dm, dw, dbias;
};

struct LinearExpected {
  std::vector<ProjectionExpected> projections;
  Bounded dx;
};

// `norms` of each projection are those the level found (adapter_test holds them against doubles).
LinearExpected expected_linear(const LinearData& data, const LinearResult& found);

// Runs a case on a level and holds everything against the doubles.
void check_linear(const LinearShape& shape, const std::string& level, uint64_t seed);

// All of two results has the same bits.
void expect_same_results(const LinearResult& found, const LinearResult& expected,
                         const std::string& where);

}  // namespace rora::testing
