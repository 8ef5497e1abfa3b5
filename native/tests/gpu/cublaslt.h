// Products by cuBLASLt, to hold the kernels' times against. It is opened at run time and neither
// its headers nor the library are needed to build; the values of its constants are its ABI, the
// same in releases 11 to 13.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace rora::cuda {

// What is transposed of  c = a b,  all row-major with a pitch: kNT multiplies with b's transpose
// [n, k], kTN a's [k, m].
enum class Form { kNN, kNT, kTN };

struct PlainGemm {
  Form form;
  int64_t m, n, k;
  const void* a;
  int64_t a_pitch;
  const void* b;
  int64_t b_pitch;
  void* c;
  int64_t c_pitch;
  cudaDataType_t in, out;  // of a and b, of c
  bool add = false;        // c += a b
  float factor = 1.0f;     // of a b
};

class CublasLt {
 public:
  CublasLt();
  // Why there is none; "" if there is.
  const std::string& missing() const { return missing_; }

  // A product that is ready to run; NULL if the library has no way to do it. It lives as long as
  // this object.
  struct Plan;
  Plan* plan(const PlainGemm& gemm);
  // Returns "" or what was wrong.
  const char* run(const Plan& plan, cudaStream_t stream);

 private:
  std::string missing_;
  void* library_ = nullptr;
  void* handle_ = nullptr;
  void* workspace_ = nullptr;
  std::vector<std::shared_ptr<Plan>> plans_;
};

}  // namespace rora::cuda
