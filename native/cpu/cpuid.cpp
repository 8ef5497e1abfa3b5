#include "cpu/cpuid.h"

#if defined(__x86_64__) && defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace rora {
namespace {

CpuFeatures detect() {
  CpuFeatures found;
#if defined(__x86_64__)
  // __builtin_cpu_supports also asks, through xgetbv, whether the system saves the registers.
  __builtin_cpu_init();
  const auto note = [&](bool has, const char* word) {
    if (has && !found.words.empty()) found.words += ' ';
    if (has) found.words += word;
    return has;
  };
  const bool avx2 = note(__builtin_cpu_supports("avx2"), "avx2");
  const bool fma = note(__builtin_cpu_supports("fma"), "fma");
  const bool f16c = note(__builtin_cpu_supports("f16c"), "f16c");
  const bool f = note(__builtin_cpu_supports("avx512f"), "avx512f");
  const bool bw = note(__builtin_cpu_supports("avx512bw"), "avx512bw");
  const bool dq = note(__builtin_cpu_supports("avx512dq"), "avx512dq");
  const bool vl = note(__builtin_cpu_supports("avx512vl"), "avx512vl");
  const bool bf16 = note(__builtin_cpu_supports("avx512bf16"), "avx512bf16");
  const bool amx =
      note(__builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16"), "amx");
  found.avx2 = avx2 && fma && f16c;
  found.avx512 = found.avx2 && f && bw && dq && vl;
  found.avx512bf16 = found.avx512 && bf16;
  found.amx = found.avx512bf16 && amx;
#elif defined(__aarch64__)
  found.words = "neon";
#endif
  return found;
}

}  // namespace

const CpuFeatures& cpu_features() {
  static const CpuFeatures features = detect();
  return features;
}

bool request_tiles() {
#if defined(__x86_64__) && defined(__linux__)
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
#else
  return false;
#endif
}

}  // namespace rora
