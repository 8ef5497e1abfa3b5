// The CPU as a device: the host's memory, activations as token panels.
#include "api/device.h"

#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "cpu/panel.h"
#include "cpu/thread_pool.h"
#include "cpu/weight_memory.h"

namespace rora {
namespace {

// In front of every allocation stands its size, in a block as large as the alignment.
constexpr int64_t kAlignment = 64;
constexpr int64_t kHugePage = int64_t(2) << 20;

void* allocate(rora_context& context, int64_t bytes) {
  if (bytes > INT64_MAX - 2 * kHugePage)
    fail(RORA_OUT_OF_MEMORY, "out of memory: more bytes asked for than can be addressed");
  // Large blocks lie on huge pages, as weights are read with long strides; but only on whole ones,
  // and the header shares the first, so that a block takes no more memory than it needs.
  const bool large = bytes >= 2 * kHugePage;
  const int64_t total = round_up(bytes + kAlignment, kAlignment);
  void* block = nullptr;
  if (posix_memalign(&block, static_cast<size_t>(large ? kHugePage : kAlignment),
                     static_cast<size_t>(total)) != 0)
    fail(RORA_OUT_OF_MEMORY,
         "out of memory: %lld bytes asked for, %lld already in use by this context",
         static_cast<long long>(bytes), static_cast<long long>(context.bytes));
  if (large) madvise(block, static_cast<size_t>(total / kHugePage * kHugePage), MADV_HUGEPAGE);
  char* memory = static_cast<char*>(block) + kAlignment;
  std::memset(memory, 0, static_cast<size_t>(total - kAlignment));
  int64_t header[2] = {bytes, kAlignment};
  std::memcpy(memory - sizeof header, header, sizeof header);
  context.bytes += bytes;
  return memory;
}

void release(rora_context& context, void* memory) noexcept {
  if (memory == nullptr) return;
  int64_t header[2];
  std::memcpy(header, static_cast<char*>(memory) - sizeof header, sizeof header);
  context.bytes -= header[0];
  std::free(static_cast<char*>(memory) - header[1]);
}

void* allocate_weight(rora_context& context, int64_t bytes) {
  if (bytes < WeightMemory::kSmallest || bytes >= WeightMemory::kLargest)
    return allocate(context, bytes);
  if (!context.weight_memory) context.weight_memory.reset(new WeightMemory);
  void* memory = context.weight_memory->take(bytes);
  if (memory == nullptr) return allocate(context, bytes);
  context.bytes += bytes;
  return memory;
}

void release_weight(rora_context& context, void* memory, int64_t bytes) noexcept {
  if (context.weight_memory && context.weight_memory->give_back(memory))
    context.bytes -= bytes;
  else
    release(context, memory);
}

void copy(rora_context&, void* target, const void* source, int64_t bytes) {
  std::memcpy(target, source, static_cast<size_t>(bytes));
}

void clear(rora_context&, void* target, int64_t bytes) {
  std::memset(target, 0, static_cast<size_t>(bytes));
}

void copy_rows(rora_context& context, const float* source, int64_t source_stride, float* target,
               int64_t target_stride, int64_t rows, int64_t columns) {
  constexpr int64_t kRows = 64;  // a task's
  parallel(*context.pool, (rows + kRows - 1) / kRows, [&](int64_t task, int32_t) {
    for (int64_t i = task * kRows; i < std::min(rows, (task + 1) * kRows); ++i)
      std::memcpy(target + i * target_stride, source + i * source_stride, size_t(columns) * 4);
  });
}

int64_t lay_out(rora_activation& a) {
  const int64_t row_bytes = kPanel * (a.dtype == RORA_F32 ? 4 : 2);
  a.rows = even(a.width) + even(a.tail);
  return product_or_max(panels(a.max_tokens), a.rows * row_bytes);
}

void clear_row(rora_activation& a, int64_t row) {
  for (int64_t p = 0; p < panels(a.tokens); ++p)
    for (int64_t lane = 0; lane < kPanel; ++lane) set(a, p * kPanel + lane, row, 0.0f);
}

void clear_padding(rora_context&, rora_activation& a) {
  if (a.width < even(a.width)) clear_row(a, a.width);
  if (a.tail < even(a.tail)) clear_row(a, even(a.width) + a.tail);
}

void copy_activation(rora_context& context, const rora_activation& source,
                     rora_activation& target) {
  const int64_t rows = even(source.width);
  parallel(*context.pool, panels(source.tokens), [&](int64_t panel, int32_t) {
    const int64_t from = panel * panel_stride(source), to = panel * panel_stride(target);
    if (source.dtype == target.dtype) {
      const int64_t bytes = source.dtype == RORA_F32 ? 4 : 2;
      std::memcpy(static_cast<char*>(target.data) + to * bytes,
                  static_cast<const char*>(source.data) + from * bytes,
                  static_cast<size_t>(rows * kPanel * bytes));
      return;
    }
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t t = panel * kPanel; t < (panel + 1) * kPanel; ++t)
        set(target, t, r, get(source, t, r));
  });
}

void clear_activation(rora_context&, rora_activation& a) {
  const int64_t bytes = a.dtype == RORA_F32 ? 4 : 2;
  const int64_t size = even(a.width) * kPanel * bytes;
  for (int64_t p = 0; p < panels(a.tokens); ++p)
    std::memset(static_cast<char*>(a.data) + p * panel_stride(a) * bytes, 0,
                static_cast<size_t>(size));
}

void copy_tokens(rora_context&, const rora_activation& source, int64_t source_token,
                 rora_activation& target, int64_t target_token, int64_t count) {
  for (int64_t i = 0; i < count; ++i)
    for (int64_t f = 0; f < source.width; ++f)
      set(target, target_token + i, f, get(source, source_token + i, f));
}

bool reaches(rora_context&, const void*) { return true; }

void use_stream(rora_context&, void* stream) {
  if (stream != nullptr)
    fail(RORA_UNSUPPORTED, "stream=%p: the CPU has no streams, give NULL; open \"cuda\" for one",
         stream);
}

void close(rora_context&) noexcept {}

}  // namespace

const Device& cpu_device() {
  static constexpr Device device = {
      .on_host = true,
      .row_elements = 1,
      .allocate = allocate,
      .release = release,
      .allocate_weight = allocate_weight,
      .release_weight = release_weight,
      .upload = copy,
      .download = copy,
      .clear = clear,
      .copy_rows = copy_rows,
      .lay_out = lay_out,
      .clear_padding = clear_padding,
      .copy_activation = copy_activation,
      .clear_activation = clear_activation,
      .copy_tokens = copy_tokens,
      .memory = nullptr,
      .reaches = reaches,
      .write_weight = nullptr,
      .use_stream = use_stream,
      .close = close,
  };
  return device;
}

}  // namespace rora
