// Memory of weights that are too small for huge pages of their own. A step of generation reads all
// weights once; on pages of 4 KB that is as many misses of the TLB, and prefetching ends at each
// page. So they stand side by side in blocks on huge pages. A block goes when its last weight does.
#pragma once

#include <cstdint>
#include <vector>

namespace rora {

class WeightMemory {
 public:
  // Below, pages are few; above, allocate() takes huge pages for the weight alone.
  static constexpr int64_t kSmallest = int64_t(128) << 10;
  static constexpr int64_t kLargest = int64_t(4) << 20;

  WeightMemory() = default;
  ~WeightMemory();
  WeightMemory(const WeightMemory&) = delete;
  WeightMemory& operator=(const WeightMemory&) = delete;

  // Zeroed and aligned to 64 bytes; NULL if there is no memory for another block.
  void* take(int64_t bytes);
  // Whether the memory was taken here.
  bool give_back(const void* memory) noexcept;

 private:
  struct Block {
    char* data;
    int64_t used, live;  // bytes handed out, and weights in them that are still there
  };
  std::vector<Block> blocks_;
};

}  // namespace rora
