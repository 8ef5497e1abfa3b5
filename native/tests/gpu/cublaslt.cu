#include "tests/gpu/cublaslt.h"

#include <dlfcn.h>

namespace rora::cuda {
namespace {

constexpr size_t kWorkspaceBytes = size_t(64) << 20;

constexpr int kCompute32 = 68;           // CUBLAS_COMPUTE_32F: sums of floats, no TF32
constexpr int kTransA = 3, kTransB = 4;  // CUBLASLT_MATMUL_DESC_TRANSA, _TRANSB
constexpr int kMaxWorkspace = 1;         // CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES

struct Algorithm {
  uint64_t data[8];
};
struct Heuristic {
  Algorithm algorithm;
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};
static_assert(sizeof(Heuristic) == 96);

struct Functions {
  int (*create)(void** handle);
  int (*make_operation)(void** operation, int compute, int scale_type);
  int (*set_operation)(void* operation, int attribute, const void* value, size_t bytes);
  int (*make_layout)(void** layout, int type, uint64_t rows, uint64_t columns, int64_t pitch);
  int (*make_preference)(void** preference);
  int (*set_preference)(void* preference, int attribute, const void* value, size_t bytes);
  int (*choose)(void* handle, void* operation, void* a, void* b, void* c, void* d, void* preference,
                int wanted, Heuristic* found, int* count);
  int (*multiply)(void* handle, void* operation, const void* alpha, const void* a, void* a_layout,
                  const void* b, void* b_layout, const void* beta, const void* c, void* c_layout,
                  void* d, void* d_layout, const Algorithm* algorithm, void* workspace,
                  size_t workspace_bytes, cudaStream_t stream);
};
Functions functions;

template <class Function>
bool find(void* library, const char* name, Function*& function) {
  function = reinterpret_cast<Function*>(dlsym(library, name));
  return function != nullptr;
}

}  // namespace

struct CublasLt::Plan {
  PlainGemm gemm;
  void *operation = nullptr, *a = nullptr, *b = nullptr, *c = nullptr;
  Algorithm algorithm;
};

CublasLt::CublasLt() {
  for (const char* name :
       {"libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11", "libcublasLt.so"})
    if (library_ == nullptr) library_ = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) {
    missing_ = "libcublasLt.so cannot be opened; put its folder in LD_LIBRARY_PATH";
    return;
  }
  Functions& f = functions;
  const bool all = find(library_, "cublasLtCreate", f.create) &&
                   find(library_, "cublasLtMatmulDescCreate", f.make_operation) &&
                   find(library_, "cublasLtMatmulDescSetAttribute", f.set_operation) &&
                   find(library_, "cublasLtMatrixLayoutCreate", f.make_layout) &&
                   find(library_, "cublasLtMatmulPreferenceCreate", f.make_preference) &&
                   find(library_, "cublasLtMatmulPreferenceSetAttribute", f.set_preference) &&
                   find(library_, "cublasLtMatmulAlgoGetHeuristic", f.choose) &&
                   find(library_, "cublasLtMatmul", f.multiply);
  if (!all)
    missing_ = "libcublasLt.so lacks a function";
  else if (const int status = f.create(&handle_))
    missing_ = "cublasLtCreate: status " + std::to_string(status);
  else if (cudaMalloc(&workspace_, kWorkspaceBytes) != cudaSuccess)
    missing_ = "there is no memory for its workspace";
}

// Its matrices are column-major: row-major ones are their transposes, so that c' = b' a'.
CublasLt::Plan* CublasLt::plan(const PlainGemm& gemm) {
  if (!missing_.empty()) return nullptr;
  Functions& f = functions;
  auto plan = std::make_shared<Plan>();
  plan->gemm = gemm;
  const int first = gemm.form == Form::kNT, second = gemm.form == Form::kTN;
  const uint64_t m = uint64_t(gemm.m), n = uint64_t(gemm.n), k = uint64_t(gemm.k);
  void* preference = nullptr;
  const bool made =
      !f.make_operation(&plan->operation, kCompute32, CUDA_R_32F) &&
      !f.set_operation(plan->operation, kTransA, &first, sizeof first) &&
      !f.set_operation(plan->operation, kTransB, &second, sizeof second) &&
      !f.make_layout(&plan->a, gemm.in, first ? k : n, first ? n : k, gemm.b_pitch) &&
      !f.make_layout(&plan->b, gemm.in, second ? m : k, second ? k : m, gemm.a_pitch) &&
      !f.make_layout(&plan->c, gemm.out, n, m, gemm.c_pitch) && !f.make_preference(&preference) &&
      !f.set_preference(preference, kMaxWorkspace, &kWorkspaceBytes, sizeof kWorkspaceBytes);
  Heuristic found = {};
  int count = 0;
  if (!made ||
      f.choose(handle_, plan->operation, plan->a, plan->b, plan->c, plan->c, preference, 1, &found,
               &count) ||
      count == 0)
    return nullptr;
  plan->algorithm = found.algorithm;
  plans_.push_back(plan);
  return plan.get();
}

const char* CublasLt::run(const Plan& plan, cudaStream_t stream) {
  const PlainGemm& gemm = plan.gemm;
  const float beta = gemm.add ? 1.0f : 0.0f;
  const int status = functions.multiply(handle_, plan.operation, &gemm.factor, gemm.b, plan.a,
                                        gemm.a, plan.b, &beta, gemm.c, plan.c, gemm.c, plan.c,
                                        &plan.algorithm, workspace_, kWorkspaceBytes, stream);
  return status == 0 ? "" : "cublasLtMatmul failed";
}

}  // namespace rora::cuda
