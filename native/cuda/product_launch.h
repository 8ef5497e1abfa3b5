// Host side of product.h: filling a Product, choosing its tiles and slices, starting its kernels.
#pragma once

#include "cuda/machine.h"
#include "cuda/product.h"

namespace rora::cuda {

// Tiles of each type, in rows and columns of C and, for bf16, k. kBase is for enough tiles to fill
// the GPU, at 64 KB (48 KB) of shared memory; kLarge reads less and needs 144 KB (sm_80, 90, 100);
// kSmall is for few tokens and narrow matrices, and the only one that may be cut into slices.
// Segments apart need twice the sums in registers, so their warps have smaller tiles.
template <class T, Extras kExtras>
struct Shapes;
template <Extras kExtras>
struct Shapes<bf16, kExtras> {
  using Small = MmaShape<64, 64, 64, 32, 32, 4>;
  using Base = MmaShape<128, 128, 32, 64, 64, 4>;
  using Large = MmaShape<128, 256, 64, 64, 64, 3>;
  static constexpr bool kHasLarge = true;
};
template <>
struct Shapes<bf16, Extras::kApart> {
  using Small = MmaShape<64, 64, 64, 32, 32, 4>;
  using Base = MmaShape<128, 64, 64, 32, 32, 3>;
  using Large = Base;
  static constexpr bool kHasLarge = false;
};
template <Extras kExtras>
struct Shapes<float, kExtras> {
  using Small = FmaShape<64, 64, 4>;
  using Base = FmaShape<128, 128, 3>;
  using Large = Base;
  static constexpr bool kHasLarge = false;
};

constexpr int kMaxSlices = 16;
constexpr int kLeastTiles = 4;  // k-tiles of a slice

template <class T, class Out>
Segment<T>& add_segment(Product<T, Out>& op, Part<Out>& part, const T* a, int64_t a_pitch,
                        const T* b, int64_t b_pitch, int64_t k) {
  Segment<T>& s = op.segment[part.segment + part.segments];
  if (k == 0) return s;  // not counted: the next one takes its place
  ++part.segments;
  s = Segment<T>();
  s.a = a, s.b = b;
  s.a_pitch = a_pitch, s.b_pitch = b_pitch;
  s.k = int32_t(k);
  s.a_packs = packs_fit(a, a_pitch), s.b_packs = packs_fit(b, b_pitch);
  return s;
}

// The next part, m x n, whose segments follow those of the parts before.
template <class T, class Out>
Part<Out>& add_part(Product<T, Out>& op, int64_t m, int64_t n, Out* out, int64_t out_pitch,
                    const Out* residual, int64_t residual_pitch) {
  Part<Out>& part = op.part[op.parts];
  if (op.parts > 0) {
    const Part<Out>& before = op.part[op.parts - 1];
    part.segment = before.segment + before.segments;
  }
  ++op.parts;
  part.m = int32_t(m), part.n = int32_t(n);
  part.out = out, part.out_pitch = out_pitch;
  part.residual = residual, part.residual_pitch = residual_pitch;
  part.packs = packs_fit(out, out_pitch) && (!residual || packs_fit(residual, residual_pitch));
  return part;
}

inline int32_t tiles_of(int32_t size, int32_t tile) { return (size + tile - 1) / tile; }

template <class Shape, class T, class Out>
int32_t set_tiles(Product<T, Out>& op) {
  op.m_tiles = op.n_tiles = 0;
  for (int i = 0; i < op.parts; ++i) {
    Part<Out>& part = op.part[i];
    const int32_t m_tiles = tiles_of(part.m, Shape::kM);
    if (m_tiles > op.m_tiles) op.m_tiles = m_tiles;
    part.n_tiles = tiles_of(part.n, Shape::kN);
    op.n_tiles += part.n_tiles;
  }
  return op.m_tiles * op.n_tiles;
}

// As many slices as make two blocks for each multiprocessor, unless they would be short.
template <class Shape, class T, class Out>
void set_slices(Product<T, Out>& op, const Machine& machine) {
  const int32_t tiles = set_tiles<Shape>(op);
  int32_t k_tiles = 0;
  op.slice_floats = 0;
  for (int i = 0; i < op.parts; ++i) {
    Part<Out>& part = op.part[i];
    int32_t sum = 0;
    for (int s = 0; s < part.segments; ++s)
      sum += tiles_of(op.segment[part.segment + s].k, Shape::kK);
    if (sum > k_tiles) k_tiles = sum;
    part.partials = op.slice_floats;
    op.slice_floats += part.m * ((int64_t(part.n) + kStrip - 1) / kStrip * kStrip);
  }
  op.slices = 1;
  if (tiles == 0 || tiles >= machine.multiprocessors) return;
  op.slices = 2 * machine.multiprocessors / tiles;
  if (op.slices > k_tiles / kLeastTiles) op.slices = k_tiles / kLeastTiles;
  if (op.slices > kMaxSlices) op.slices = kMaxSlices;
  if (op.slices < 1) op.slices = 1;
}

enum class Variant { kSmall, kBase, kLarge };

// kWide: whether anything but kSmall exists for the kernel.
template <bool kWide, Extras kExtras, class T, class Out>
Variant choose(Product<T, Out>& op, const Machine& machine) {
  using S = Shapes<T, kExtras>;
  using Large = typename S::Large;
  constexpr uint32_t kLargeBytes =
      Large::kStages * (Large::kM + Large::kN) * Large::kK * uint32_t(sizeof(T));
  if (kWide) {
    if (S::kHasLarge && kLargeBytes <= machine.shared_limit &&
        set_tiles<Large>(op) >= machine.multiprocessors)
      return Variant::kLarge;
    if (set_tiles<typename S::Base>(op) >= machine.multiprocessors) return Variant::kBase;
  }
  set_slices<typename S::Small>(op, machine);
  return Variant::kSmall;
}

// Floats that the product needs as workspace.
template <bool kWide, Extras kExtras, class T, class Out>
int64_t workspace_of(Product<T, Out> op, const Machine& machine) {
  return choose<kWide, kExtras>(op, machine) == Variant::kSmall && op.slices > 1
             ? op.slices * op.slice_floats
             : 0;
}

template <class Shape, Layout kLayout, Extras kExtras, class Out>
const char* start(Stream stream, const Product<bf16, Out>& op) {
  return launch(product_mma_kernel<Shape, kLayout, kExtras, Out>,
                {uint32_t(op.m_tiles * op.n_tiles), uint32_t(op.slices)}, Shape::kThreads,
                Stage<bf16, Shape, kLayout>::kBytes, stream, op);
}
template <class Shape, Layout kLayout, Extras kExtras, class Out>
const char* start(Stream stream, const Product<float, Out>& op) {
  return launch(product_fma_kernel<Shape, kLayout, kExtras, Out>,
                {uint32_t(op.m_tiles * op.n_tiles), uint32_t(op.slices)}, Shape::kThreads,
                Stage<float, Shape, kLayout>::kBytes, stream, op);
}

template <bool kWide, Layout kLayout, Extras kExtras, class T, class Out>
const char* run(Stream stream, const Machine& machine, Product<T, Out> op) {
  using S = Shapes<T, kExtras>;
  const Variant variant = choose<kWide, kExtras>(op, machine);
  if (op.m_tiles * op.n_tiles == 0) return "";
  if constexpr (kWide) {
    if constexpr (S::kHasLarge)
      if (variant == Variant::kLarge) return start<typename S::Large, kLayout, kExtras>(stream, op);
    if (variant == Variant::kBase) return start<typename S::Base, kLayout, kExtras>(stream, op);
  }
  if (op.slices > 1 && op.workspace_floats < op.slices * op.slice_floats)
    return "the workspace of a product is too small: ask for its size with the same machine";
  if (op.slices > 1 && !packs_fit(op.workspace, 0))
    return "the workspace of a product is not aligned to 16 bytes";
  const char* const error = start<typename S::Small, kLayout, kExtras>(stream, op);
  if (*error || op.slices == 1) return error;
  int64_t most = 0;
  for (int i = 0; i < op.parts; ++i) {
    const int64_t strips = op.part[i].m * blocks_of(op.part[i].n, kStrip);
    if (strips > most) most = strips;
  }
  return launch(product_reduce_kernel<T, Out>,
                {uint32_t(blocks_of(most, kReduceThreads)), uint32_t(op.parts)}, kReduceThreads, 0,
                stream, op);
}

}  // namespace rora::cuda
