// Products: [m, k] times [k, n], with adapters of a rank.
#include "cuda/gemm.h"
#include "cuda/skinny.h"
#include "operands.h"

namespace rora::testing {
namespace {

using namespace cuda;

// Compares columns of a matrix with sums of `count` terms.
template <class T, class Term>
void check_sums(const Matrix<T>& found, int64_t first, int64_t columns, int64_t count,
                CaseResult& result, const char* what, const Term& term) {
  const auto sum = [&](int64_t row, int64_t column, bool absolute) {
    double total = 0;
    for (int64_t i = 0; i < count; ++i) {
      const double value = term(row, column, i);
      total += absolute ? std::fabs(value) : value;
    }
    return total;
  };
  found.check(
      first, columns, result, [&](int64_t row, int64_t column) { return sum(row, column, false); },
      [&](int64_t row, int64_t column) {
        return double(count + 2) * kFloatHalf * sum(row, column, true);
      },
      what);
}

// y [m, n] = x [m, k] W^T + h B^T, h in x's rows.
template <class T>
void gemm_forward_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  const int64_t h = (s.k + 7) / 8 * 8;
  Matrix<T> x(s.m, h + s.rank, "x"), w(s.n, s.k, "W"), b(s.n, s.rank, "lora_B"), y(s.m, s.n, "y");
  x.fill(values);
  w.fill(values);
  b.fill(values);
  GemmForward<T> op;
  op.tokens = s.m, op.in = s.k, op.projections = 1;
  op.x = x.data(), op.x_pitch = x.pitch(), op.y = y.data(), op.y_pitch = y.pitch();
  auto& p = op.projection[0];
  p.out = s.n, p.weight = w.data(), p.weight_pitch = w.pitch(), p.rank = s.rank;
  p.h = x.at(0, h), p.lora_B = b.data(), p.lora_B_pitch = b.pitch();
  simt::Memory<float> workspace(size_t(gemm_workspace(s.machine, op)), "workspace");
  op.workspace = workspace.data(), op.workspace_floats = int64_t(workspace.size());
  if (failed(gemm_forward(stream, s.machine, op), result)) return;
  check_sums(y, 0, s.n, s.k + s.rank, result, "y", [&](int64_t t, int64_t n, int64_t k) {
    return k < s.k ? x.get(t, k) * w.get(n, k) : x.get(t, h + k - s.k) * b.get(n, k - s.k);
  });
  y.check_padding(result, "y");
}

// dx [m, k] = dy [m, n] W + g A, g in dy's rows.
template <class T>
void gemm_backward_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  const int64_t g = (s.n + 7) / 8 * 8;
  Matrix<T> dy(s.m, g + s.rank, "dy"), w(s.n, s.k, "W"), a(s.rank, s.k, "lora_A"),
      dx(s.m, s.k, "dx");
  dy.fill(values);
  w.fill(values);
  a.fill(values);
  GemmBackward<T> op;
  op.tokens = s.m, op.in = s.k, op.projections = 1;
  op.dy = dy.data(), op.dy_pitch = dy.pitch(), op.dx = dx.data(), op.dx_pitch = dx.pitch();
  auto& p = op.projection[0];
  p.out = s.n, p.weight = w.data(), p.weight_pitch = w.pitch(), p.rank = s.rank;
  p.g = dy.at(0, g), p.lora_A = a.data(), p.lora_A_pitch = a.pitch();
  simt::Memory<float> workspace(size_t(gemm_workspace(s.machine, op)), "workspace");
  op.workspace = workspace.data(), op.workspace_floats = int64_t(workspace.size());
  if (failed(gemm_backward(stream, s.machine, op), result)) return;
  check_sums(dx, 0, s.k, s.n + s.rank, result, "dx", [&](int64_t t, int64_t k, int64_t n) {
    return n < s.n ? dy.get(t, n) * w.get(n, k) : dy.get(t, g + n - s.n) * a.get(n - s.n, k);
  });
  dx.check_padding(result, "dx");
}

// h [m, rank] = scaling x [m, k] A^T, h in x's rows.
template <class T>
void shrink_forward_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  const int64_t h = (s.k + 7) / 8 * 8;
  Matrix<T> x(s.m, h + s.rank, "x"), a(s.rank, s.k, "lora_A");
  x.fill(values, s.k);
  a.fill(values);
  ShrinkForward<T> op;
  op.tokens = s.m, op.in = s.k, op.projections = 1, op.x = x.data(), op.x_pitch = x.pitch();
  auto& p = op.projection[0];
  p.rank = s.rank, p.scaling = whole ? 2.0f : 0.7f, p.h = x.at(0, h);
  p.lora_A = a.data(), p.lora_A_pitch = a.pitch();
  simt::Memory<float> workspace(size_t(shrink_workspace(s.machine, op)), "workspace");
  op.workspace = workspace.data(), op.workspace_floats = int64_t(workspace.size());
  if (failed(shrink_forward(stream, s.machine, op), result)) return;
  check_sums(x, h, s.rank, s.k, result, "h", [&](int64_t t, int64_t j, int64_t k) {
    return double(p.scaling) * x.get(t, k) * a.get(j, k);
  });
  x.check_padding(result, "x");
}

// g [m, rank] = scaling dy [m, n] B, g in dy's rows.
template <class T>
void shrink_backward_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  const int64_t g = (s.n + 7) / 8 * 8;
  Matrix<T> dy(s.m, g + s.rank, "dy"), b(s.n, s.rank, "lora_B");
  dy.fill(values, s.n);
  b.fill(values);
  ShrinkBackward<T> op;
  op.tokens = s.m, op.projections = 1, op.dy = dy.data(), op.dy_pitch = dy.pitch();
  auto& p = op.projection[0];
  p.out = s.n, p.rank = s.rank, p.scaling = whole ? 2.0f : 0.7f, p.g = dy.at(0, g);
  p.lora_B = b.data(), p.lora_B_pitch = b.pitch();
  simt::Memory<float> workspace(size_t(shrink_workspace(s.machine, op)), "workspace");
  op.workspace = workspace.data(), op.workspace_floats = int64_t(workspace.size());
  if (failed(shrink_backward(stream, s.machine, op), result)) return;
  check_sums(dy, g, s.rank, s.n, result, "g", [&](int64_t t, int64_t j, int64_t n) {
    return double(p.scaling) * dy.get(t, n) * b.get(n, j);
  });
  dy.check_padding(result, "dy");
}

// dA [rank, k] += g^T x, dB [n, rank] += dy^T h.
template <class T>
void adapter_sums_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  const int64_t h = (s.k + 7) / 8 * 8, g = (s.n + 7) / 8 * 8;
  Matrix<T> x(s.m, h + s.rank, "x"), dy(s.m, g + s.rank, "dy");
  Matrix<float> da(s.rank, s.k, "lora_A_gradient"), db(s.n, s.rank, "lora_B_gradient");
  x.fill(values);
  dy.fill(values);
  da.fill(1.0f);
  db.fill(1.0f);
  AdapterSums<T> op;
  op.tokens = s.m, op.in = s.k, op.projections = 1;
  op.x = x.data(), op.x_pitch = x.pitch(), op.dy = dy.data(), op.dy_pitch = dy.pitch();
  auto& p = op.projection[0];
  p.out = s.n, p.rank = s.rank, p.h = x.at(0, h), p.g = dy.at(0, g);
  p.lora_A_gradient = da.data(), p.lora_A_pitch = da.pitch();
  p.lora_B_gradient = db.data(), p.lora_B_pitch = db.pitch();
  simt::Memory<float> workspace(size_t(sums_workspace(s.machine, op)), "workspace");
  op.workspace = workspace.data(), op.workspace_floats = int64_t(workspace.size());
  if (failed(adapter_sums(stream, s.machine, op), result)) return;
  // The gradient that was there is one term more.
  check_sums(da, 0, s.k, s.m + 1, result, "lora_A_gradient", [&](int64_t j, int64_t k, int64_t t) {
    return t == s.m ? 1.0 : dy.get(t, g + j) * x.get(t, k);
  });
  check_sums(db, 0, s.rank, s.m + 1, result, "lora_B_gradient",
             [&](int64_t n, int64_t j, int64_t t) {
               return t == s.m ? 1.0 : dy.get(t, n) * x.get(t, h + j);
             });
  da.check_padding(result, "lora_A_gradient");
  db.check_padding(result, "lora_B_gradient");
}

// dW [n, k] += dy^T x.
template <class T>
void weight_sums_case(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  Values values(s.seed, whole);
  Matrix<T> x(s.m, s.k, "x"), dy(s.m, s.n, "dy");
  Matrix<float> dw(s.n, s.k, "gradient");
  x.fill(values);
  dy.fill(values);
  dw.fill(1.0f);
  WeightSums<T> op;
  op.tokens = s.m, op.in = s.k, op.projections = 1;
  op.x = x.data(), op.x_pitch = x.pitch(), op.dy = dy.data(), op.dy_pitch = dy.pitch();
  op.projection[0].out = s.n;
  op.projection[0].gradient = dw.data(), op.projection[0].pitch = dw.pitch();
  simt::Memory<float> workspace(size_t(sums_workspace(s.machine, op)), "workspace");
  op.workspace = workspace.data(), op.workspace_floats = int64_t(workspace.size());
  if (failed(weight_sums(stream, s.machine, op), result)) return;
  check_sums(dw, 0, s.k, s.m + 1, result, "gradient", [&](int64_t n, int64_t k, int64_t t) {
    return t == s.m ? 1.0 : dy.get(t, n) * x.get(t, k);
  });
  dw.check_padding(result, "gradient");
}

}  // namespace

namespace {

// As on a GPU with so few multiprocessors that there are always tiles enough: the main kernel. With
// the GPU's own number small cases are cut into slices.
template <KernelCase::Run kRun>
void main_kernel(Stream stream, const CaseSizes& s, bool whole, CaseResult& result) {
  CaseSizes one = s;
  one.machine.multiprocessors = 1;
  kRun(stream, one, whole, result);
}

}  // namespace

std::vector<KernelCase> product_cases() {
  return {
      {"gemm_forward", "gemm", main_kernel<gemm_forward_case<float>>,
       main_kernel<gemm_forward_case<bf16>>},
      {"gemm_backward", "gemm", main_kernel<gemm_backward_case<float>>,
       main_kernel<gemm_backward_case<bf16>>},
      {"gemm_forward_slices", "gemm", gemm_forward_case<float>, gemm_forward_case<bf16>},
      {"gemm_backward_slices", "gemm", gemm_backward_case<float>, gemm_backward_case<bf16>},
      {"shrink_forward", "skinny", shrink_forward_case<float>, shrink_forward_case<bf16>},
      {"shrink_backward", "skinny", shrink_backward_case<float>, shrink_backward_case<bf16>},
      {"adapter_sums", "skinny", adapter_sums_case<float>, adapter_sums_case<bf16>},
      {"weight_sums", "skinny", weight_sums_case<float>, weight_sums_case<bf16>},
  };
}

}  // namespace rora::testing
