#include "cpu/weight_memory.h"

#include <sys/mman.h>

#include <cstdlib>
#include <cstring>

#include "api/objects.h"

namespace rora {
namespace {
constexpr int64_t kHugePage = int64_t(2) << 20;
// Of address space: memory is taken page by page, as weights come. On average half a huge page is
// left over at a block's end, 3 %.
constexpr int64_t kBlockBytes = 16 * kHugePage;
}  // namespace

void WeightMemoryDelete::operator()(WeightMemory* memory) const noexcept { delete memory; }

WeightMemory::~WeightMemory() {
  for (const Block& block : blocks_) std::free(block.data);
}

void* WeightMemory::take(int64_t bytes) {
  const int64_t room = round_up(bytes, 64);
  if (blocks_.empty() || blocks_.back().used + room > kBlockBytes) {
    blocks_.reserve(blocks_.size() + 1);
    void* data = nullptr;
    if (posix_memalign(&data, size_t(kHugePage), size_t(kBlockBytes)) != 0) return nullptr;
    madvise(data, size_t(kBlockBytes), MADV_HUGEPAGE);
    blocks_.push_back({static_cast<char*>(data), 0, 0});
  }
  Block& block = blocks_.back();
  char* memory = block.data + block.used;
  std::memset(memory, 0, size_t(bytes));
  block.used += room;
  ++block.live;
  return memory;
}

bool WeightMemory::give_back(const void* memory) noexcept {
  const char* place = static_cast<const char*>(memory);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    Block& block = blocks_[i];
    if (place < block.data || place >= block.data + kBlockBytes) continue;
    if (--block.live == 0) {
      std::free(block.data);
      blocks_.erase(blocks_.begin() + int64_t(i));
    }
    return true;
  }
  return false;
}

}  // namespace rora
