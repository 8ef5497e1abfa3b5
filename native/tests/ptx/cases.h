// Cases of kernels: operands from a seed, the host function, and a plain loop in double to compare
// with.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "cuda/launch.h"
#include "cuda/machine.h"

namespace rora::testing {

struct CaseSizes {
  int64_t m, n, k, rank;
  bool bf16;
  uint64_t seed;
  cuda::Machine machine;
};

// What the comparisons of a case have found.
struct CaseResult {
  bool exact = true;     // every value has the bits of the expected one rounded to its type
  double max_error = 0;  // the largest difference
  std::string wrong;     // the first value beyond its bound, or what the host function returned

  void add(const std::string& where, double found, double expected, double rounded, double bound);
};

struct KernelCase {
  const char* name;
  const char* family;  // of native/cuda
  // `whole`: on whole numbers (or whatever makes the result exact), else on random ones.
  using Run = void (*)(cuda::Stream stream, const CaseSizes& sizes, bool whole, CaseResult& result);
  Run fp32, bf16;
};

std::vector<KernelCase> product_cases();
std::vector<KernelCase> row_cases();
std::vector<KernelCase> attention_cases();

const std::vector<KernelCase>& kernel_cases();

}  // namespace rora::testing
