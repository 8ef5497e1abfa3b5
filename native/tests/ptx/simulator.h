// Launches in a PTX simulator in place of the emulation.
#pragma once

#include <string>
#include <vector>

#include "json.h"
#include "tests/simt/simt.h"

namespace rora::testing {

// The kernels of one family, native/cuda/FAMILY.cu, as PTX. The simulator is another process: each
// launch hands it all global memory in files and takes it back.
class Simulator {
 public:
  struct Options {
    std::string executable, arch, schedule;
    uint64_t seed = 1;
  };

  // Compiles the family unless that has been done; throws std::runtime_error with what went wrong.
  Simulator(const Options& options, const std::string& family);
  ~Simulator();
  Simulator(const Simulator&) = delete;
  Simulator& operator=(const Simulator&) = delete;

  // What simt::Stream::instead wants. Findings of the simulator do not end the case: they are kept.
  std::string launch(const cuda::simt::Launch& launch);

  const std::vector<std::string>& findings() const { return findings_; }
  // Those of all launches since the last call, by the simulator's names.
  Json take_counters();

 private:
  std::string entry_of(const void* kernel);

  Options options_;
  std::string ptx_, directory_;
  std::vector<std::string> findings_;
  Json counters_;
};

}  // namespace rora::testing
