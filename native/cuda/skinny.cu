// Products with a side as narrow as a rank, and sums over tokens (arXiv:2106.09685, section 4.1;
// product.h has the kernels):
//
//   H'_i = s X A_i^T     G'_i = s (c o dY_i) B_i     dA_i += G'_i^T X     dB_i += c o dY_i^T H'_i
//
//             A_i^T |          B_i |                  |  X                   | H'_i
//                   |              |            k = t |                k = t |
//            X  --- H'_i   dY_i --- G'_i     G'_i^T -- dA_i       dY_i^T  -- dB_i
//
// All are streams of X or dY, at 2 r FLOP for an element: a launch takes all projections of a
// group, tiles are 64 x 64 x 64 (fp32: x 16), and where these are few, as they are, slices of the
// reduction, whose sums meet in a workspace and are added up in order: no atomics, the same bits in
// every run. Compulsory traffic: X (dY) once for each 64 columns of the result, the narrow operand,
// the result. Dropout's mask is made again where X's tile has arrived in shared memory, by the
// threads that copied it; 1 / (1 - p) is a factor of the sum, so X' is not rounded. bf16: 64 KB of
// shared memory, 128 registers. Sums over tokens read both operands transposed, which costs
// load_matrices_transposed nothing. Reference: cpu/reference/linear.cpp.
#include "cuda/skinny.h"

#include "cuda/product_launch.h"

namespace rora::cuda {
namespace {

// Whether projection i of the op goes on where its predecessor ends, so that both are one matrix.
template <class T>
bool continues(const ShrinkForward<T>& op, int i) {
  if (i == 0 || op.order) return false;
  const auto &before = op.projection[i - 1], &p = op.projection[i];
  return p.rank > 0 && before.rank > 0 && p.scaling == before.scaling &&
         p.lora_A_pitch == before.lora_A_pitch && p.h == before.h + before.rank &&
         p.lora_A == before.lora_A + before.rank * before.lora_A_pitch;
}

template <class T>
Product<T, T> product_of(const ShrinkForward<T>& op) {
  Product<T, T> product;
  for (int i = 0; i < op.projections; ++i) {
    const auto& p = op.projection[i];
    if (p.rank == 0) continue;
    if (continues(op, i)) {
      product.part[product.parts - 1].n += int32_t(p.rank);
      continue;
    }
    Part<T>& part = add_part(product, op.tokens, p.rank, p.h, op.x_pitch, (const T*)nullptr, 0);
    part.factor = p.scaling;
    Segment<T>& segment =
        add_segment(product, part, op.x, op.x_pitch, p.lora_A, p.lora_A_pitch, op.in);
    if (!op.order) continue;
    segment.drops_a = true, segment.dropout = p.dropout;
    part.factor *= p.dropout.scale;
  }
  product.order = op.order;
  product.workspace = op.workspace, product.workspace_floats = op.workspace_floats;
  return product;
}

template <class T>
Product<T, T> product_of(const ShrinkBackward<T>& op) {
  Product<T, T> product;
  for (int i = 0; i < op.projections; ++i) {
    const auto& p = op.projection[i];
    if (p.rank == 0) continue;
    Part<T>& part = add_part(product, op.tokens, p.rank, p.g, op.dy_pitch, (const T*)nullptr, 0);
    part.factor = p.scaling;
    add_segment(product, part, op.dy + p.column, op.dy_pitch, p.lora_B, p.lora_B_pitch, p.out)
        .scale = p.row_scale;
  }
  product.workspace = op.workspace, product.workspace_floats = op.workspace_floats;
  return product;
}

template <class T>
Product<T, float> lora_A_sums(const AdapterSums<T>& op) {
  Product<T, float> product;
  for (int i = 0; i < op.projections; ++i) {
    const auto& p = op.projection[i];
    if (p.rank == 0) continue;
    Part<float>& part = add_part<T, float>(product, p.rank, op.in, p.lora_A_gradient,
                                           p.lora_A_pitch, p.lora_A_gradient, p.lora_A_pitch);
    Segment<T>& segment = add_segment(product, part, p.g, op.dy_pitch, op.x, op.x_pitch, op.tokens);
    if (!op.order) continue;
    segment.drops_b = true, segment.dropout = p.dropout;
    part.factor = p.dropout.scale;
  }
  product.order = op.order;
  product.workspace = op.workspace, product.workspace_floats = op.workspace_floats;
  return product;
}

template <class T>
Product<T, float> lora_B_sums(const AdapterSums<T>& op) {
  Product<T, float> product;
  for (int i = 0; i < op.projections; ++i) {
    const auto& p = op.projection[i];
    if (p.rank == 0) continue;
    Part<float>& part = add_part<T, float>(product, p.out, p.rank, p.lora_B_gradient,
                                           p.lora_B_pitch, p.lora_B_gradient, p.lora_B_pitch);
    part.row_scale = p.row_scale;
    add_segment(product, part, op.dy + p.column, op.dy_pitch, p.h, op.x_pitch, op.tokens);
  }
  product.workspace = op.workspace, product.workspace_floats = op.workspace_floats;
  return product;
}

template <class T>
Product<T, float> product_of(const WeightSums<T>& op) {
  Product<T, float> product;
  for (int i = 0; i < op.projections; ++i) {
    const auto& p = op.projection[i];
    if (p.out == 0) continue;
    Part<float>& part =
        add_part<T, float>(product, p.out, op.in, p.gradient, p.pitch, p.gradient, p.pitch);
    add_segment(product, part, op.dy + p.column, op.dy_pitch, op.x, op.x_pitch, op.tokens);
  }
  product.workspace = op.workspace, product.workspace_floats = op.workspace_floats;
  return product;
}

}  // namespace

template <class T>
int64_t shrink_workspace(const Machine& machine, const ShrinkForward<T>& op) {
  return workspace_of<false, Extras::kNone>(product_of(op), machine);
}
template <class T>
int64_t shrink_workspace(const Machine& machine, const ShrinkBackward<T>& op) {
  return workspace_of<false, Extras::kNone>(product_of(op), machine);
}
template <class T>
int64_t sums_workspace(const Machine& machine, const AdapterSums<T>& op) {
  const int64_t a = workspace_of<false, Extras::kNone>(lora_A_sums(op), machine);
  const int64_t b = workspace_of<false, Extras::kNone>(lora_B_sums(op), machine);
  return a > b ? a : b;  // one after the other
}
template <class T>
int64_t sums_workspace(const Machine& machine, const WeightSums<T>& op) {
  return workspace_of<true, Extras::kNone>(product_of(op), machine);
}

template <class T>
const char* shrink_forward(Stream stream, const Machine& machine, const ShrinkForward<T>& op) {
  const Product<T, T> product = product_of(op);
  return op.order ? run<false, Layout::kNT, Extras::kTouched>(stream, machine, product)
                  : run<false, Layout::kNT, Extras::kNone>(stream, machine, product);
}

template <class T>
const char* shrink_backward(Stream stream, const Machine& machine, const ShrinkBackward<T>& op) {
  bool scaled = false;
  for (int i = 0; i < op.projections; ++i) scaled = scaled || op.projection[i].row_scale;
  const Product<T, T> product = product_of(op);
  return scaled ? run<false, Layout::kNN, Extras::kTouched>(stream, machine, product)
                : run<false, Layout::kNN, Extras::kNone>(stream, machine, product);
}

template <class T>
const char* adapter_sums(Stream stream, const Machine& machine, const AdapterSums<T>& op) {
  if (op.tokens == 0) return "";
  const Product<T, float> a = lora_A_sums(op);
  const char* const error = op.order ? run<false, Layout::kTN, Extras::kTouched>(stream, machine, a)
                                     : run<false, Layout::kTN, Extras::kNone>(stream, machine, a);
  if (*error) return error;
  return run<false, Layout::kTN, Extras::kNone>(stream, machine, lora_B_sums(op));
}

template <class T>
const char* weight_sums(Stream stream, const Machine& machine, const WeightSums<T>& op) {
  if (op.tokens == 0) return "";
  return run<true, Layout::kTN, Extras::kNone>(stream, machine, product_of(op));
}

template int64_t shrink_workspace(const Machine&, const ShrinkForward<float>&);
template int64_t shrink_workspace(const Machine&, const ShrinkForward<bf16>&);
template int64_t shrink_workspace(const Machine&, const ShrinkBackward<float>&);
template int64_t shrink_workspace(const Machine&, const ShrinkBackward<bf16>&);
template int64_t sums_workspace(const Machine&, const AdapterSums<float>&);
template int64_t sums_workspace(const Machine&, const AdapterSums<bf16>&);
template int64_t sums_workspace(const Machine&, const WeightSums<float>&);
template int64_t sums_workspace(const Machine&, const WeightSums<bf16>&);
template const char* shrink_forward(Stream, const Machine&, const ShrinkForward<float>&);
template const char* shrink_forward(Stream, const Machine&, const ShrinkForward<bf16>&);
template const char* shrink_backward(Stream, const Machine&, const ShrinkBackward<float>&);
template const char* shrink_backward(Stream, const Machine&, const ShrinkBackward<bf16>&);
template const char* adapter_sums(Stream, const Machine&, const AdapterSums<float>&);
template const char* adapter_sums(Stream, const Machine&, const AdapterSums<bf16>&);
template const char* weight_sums(Stream, const Machine&, const WeightSums<float>&);
template const char* weight_sums(Stream, const Machine&, const WeightSums<bf16>&);

}  // namespace rora::cuda
