// The forward product and the input gradient of a group of projections with their low-rank slabs
// (arXiv:2106.09685, section 4.1), each one reduction (product.h has the kernels):
//
//                  W_q'| W_k'| W_v'                                   W_q
//                  B_q'| B_k'| B_v'                                   A_q     the weights lie as
//   X | H'_q ...    Y_q   Y_k   Y_v         dY_q G'_q dY_k G'_k ...   W_k     they are: no copy is
//                                                                     A_k dX  transposed
//
// Y: a part for each projection, whose segments are X W^T and its own H'_i B_i^T. dX: one part of
// up to eight segments. Compulsory traffic: X, W, H', B (dY, W, G', A) and the output once, and so
// it is where an operand's tiles of one group of blocks stay in the second level cache.
//
// bf16: 128 x 128 x 32 tiles, 4 stages, 4 warps of 64 x 64: 64 KB of shared memory, 254 registers;
// where a block may have 144 KB, 128 x 256 x 64 tiles, 3 stages, 8 warps; few tokens: 64 x 64 x 64
// and slices of the reduction. A step of 16 is 8 load_matrices for 32 multiply_adds a warp.
// fp32: 128 x 128 x 16, 3 stages, 8 x 8 sums a thread.
//
// With dropout what a mask applies to, G'_i A_i above all, is a segment with a sum of its own in
// registers, which is masked before it joins: dX is still written once, but by tiles of half the
// size. Reference: cpu/reference/linear.cpp.
#include "cuda/gemm.h"

#include "cuda/product_launch.h"

namespace rora::cuda {
namespace {

static_assert(kMaxProjections <= kMaxParts && 3 * kMaxProjections <= kMaxSegments);

template <class T, class Out>
Product<T, Out> product_of(const GemmForward<T, Out>& op) {
  Product<T, Out> product;
  for (int i = 0; i < op.projections; ++i) {
    const auto& p = op.projection[i];
    Part<Out>& part = add_part(product, op.tokens, p.out, op.y + p.column, op.y_pitch,
                               op.residual ? op.residual + p.column : nullptr, op.residual_pitch);
    part.bias = p.bias;
    add_segment(product, part, op.x, op.x_pitch, p.weight, p.weight_pitch, op.in);
    const bool apart = op.order && p.row_scale;
    if (apart) {
      Segment<T>& dropped =
          add_segment(product, part, op.x, op.x_pitch, p.weight, p.weight_pitch, op.in);
      dropped.drops_a = dropped.apart = true, dropped.dropout = p.dropout;
      dropped.column_scale = p.row_scale, dropped.column_offset = -1.0f;
      dropped.column_factor = p.dropout.scale;
    }
    Segment<T>& slab =
        add_segment(product, part, p.h, op.x_pitch, p.lora_B, p.lora_B_pitch, p.rank);
    if (apart)
      slab.apart = true, slab.column_scale = p.row_scale;
    else
      part.column_scale = p.row_scale;
  }
  product.order = op.order;
  product.workspace = op.workspace, product.workspace_floats = op.workspace_floats;
  return product;
}

template <class T>
Product<T, T> product_of(const GemmBackward<T>& op) {
  Product<T, T> product;
  Part<T>& part = add_part(product, op.tokens, op.in, op.dx, op.dx_pitch,
                           op.accumulate ? op.dx : nullptr, op.dx_pitch);
  for (int i = 0; i < op.projections; ++i) {
    const auto& p = op.projection[i];
    Segment<T>& base =
        add_segment(product, part, op.dy + p.column, op.dy_pitch, p.weight, p.weight_pitch, p.out);
    if (!op.order) base.scale = p.row_scale;
    if (op.order && p.row_scale) {
      Segment<T>& masked = add_segment(product, part, op.dy + p.column, op.dy_pitch, p.weight,
                                       p.weight_pitch, p.out);
      masked.scale = p.row_scale, masked.scale_offset = -1.0f;
      masked.apart = masked.drops_c = true, masked.dropout = p.dropout;
    }
    Segment<T>& slab =
        add_segment(product, part, p.g, op.dy_pitch, p.lora_A, p.lora_A_pitch, p.rank);
    if (op.order) slab.apart = slab.drops_c = true, slab.dropout = p.dropout;
  }
  product.order = op.order;
  product.workspace = op.workspace, product.workspace_floats = op.workspace_floats;
  return product;
}

// What the group asks of its kernel.
template <class T, class Out>
Extras extras_of(const GemmForward<T, Out>& op) {
  for (int i = 0; i < op.projections; ++i)
    if (op.order && op.projection[i].row_scale) return Extras::kApart;
  return Extras::kNone;
}
template <class T>
Extras extras_of(const GemmBackward<T>& op) {
  if (op.order) return Extras::kApart;
  for (int i = 0; i < op.projections; ++i)
    if (op.projection[i].row_scale) return Extras::kTouched;
  return Extras::kNone;
}

template <class Op>
int64_t workspace(const Machine& machine, const Op& op) {
  return extras_of(op) == Extras::kApart
             ? workspace_of<true, Extras::kApart>(product_of(op), machine)
             : workspace_of<true, Extras::kNone>(product_of(op), machine);
}

}  // namespace

template <class T, class Out>
int64_t gemm_workspace(const Machine& machine, const GemmForward<T, Out>& op) {
  return workspace(machine, op);
}
template <class T>
int64_t gemm_workspace(const Machine& machine, const GemmBackward<T>& op) {
  return workspace(machine, op);
}

template <class T, class Out>
const char* gemm_forward(Stream stream, const Machine& machine, const GemmForward<T, Out>& op) {
  const Product<T, Out> product = product_of(op);
  return extras_of(op) == Extras::kApart
             ? run<true, Layout::kNT, Extras::kApart>(stream, machine, product)
             : run<true, Layout::kNT, Extras::kNone>(stream, machine, product);
}

template <class T>
const char* gemm_backward(Stream stream, const Machine& machine, const GemmBackward<T>& op) {
  const Product<T, T> product = product_of(op);
  const Extras extras = extras_of(op);
  if (extras == Extras::kApart)
    return run<true, Layout::kNN, Extras::kApart>(stream, machine, product);
  return extras == Extras::kTouched
             ? run<true, Layout::kNN, Extras::kTouched>(stream, machine, product)
             : run<true, Layout::kNN, Extras::kNone>(stream, machine, product);
}

template int64_t gemm_workspace(const Machine&, const GemmForward<float>&);
template int64_t gemm_workspace(const Machine&, const GemmForward<bf16>&);
template int64_t gemm_workspace(const Machine&, const GemmForward<bf16, float>&);
template int64_t gemm_workspace(const Machine&, const GemmBackward<float>&);
template int64_t gemm_workspace(const Machine&, const GemmBackward<bf16>&);
template const char* gemm_forward(Stream, const Machine&, const GemmForward<float>&);
template const char* gemm_forward(Stream, const Machine&, const GemmForward<bf16>&);
template const char* gemm_forward(Stream, const Machine&, const GemmForward<bf16, float>&);
template const char* gemm_backward(Stream, const Machine&, const GemmBackward<float>&);
template const char* gemm_backward(Stream, const Machine&, const GemmBackward<bf16>&);

}  // namespace rora::cuda
