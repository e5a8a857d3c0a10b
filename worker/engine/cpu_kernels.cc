#include "worker/engine/cpu_kernels.h"

#include <cstring>
#include <initializer_list>

namespace espalier {

extern const CpuKernels kCpuKernels_baseline;
#if defined(__x86_64__)
extern const CpuKernels kCpuKernels_avx2;
extern const CpuKernels kCpuKernels_avx512;
#endif

const CpuKernels* CpuKernelsFor(const char* name) {
#if defined(__x86_64__)
  if (std::strcmp(name, "avx512") == 0) {
    const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                     __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return has ? &kCpuKernels_avx512 : nullptr;
  }
  if (std::strcmp(name, "avx2") == 0) {
    const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return has ? &kCpuKernels_avx2 : nullptr;
  }
#endif
  return std::strcmp(name, "baseline") == 0 ? &kCpuKernels_baseline : nullptr;
}

const CpuKernels& BestCpuKernels() {
  for (const char* name : {"avx512", "avx2"}) {
    if (const CpuKernels* kernels = CpuKernelsFor(name)) return *kernels;
  }
  return kCpuKernels_baseline;
}

}  // namespace espalier
