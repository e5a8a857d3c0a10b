// The elementwise loops of the CPU path, fused so that each activation is read and written once.
//
// One source (cpu_kernels.inc) is compiled for several instruction sets; the best one that the
// machine has is chosen at run time. All pointers are to contiguous rows; no aliasing unless said.
#ifndef ESPALIER_WORKER_ENGINE_CPU_KERNELS_H_
#define ESPALIER_WORKER_ENGINE_CPU_KERNELS_H_

#include <cstdint>

namespace espalier {

using BFloat16Bits = uint16_t;

struct CpuKernels {
  const char* name;

  // out = x / sqrt(mean(x²) + eps) · weight, over d elements.
  void (*rms_norm)(const float* x, const float* weight, float eps, int64_t d, float* out);
  // out = silu(gate) · up. `out` may be `gate`.
  void (*silu_mul)(const float* gate, const float* up, int64_t n, float* out);
  // Rotates n pairs: (a, b) -> (a cos − b sin, b cos + a sin), times `scale`; a at in[i], b at
  // in[n + i]. `cos` and `sin` hold the kept pairs' values.
  void (*rope)(const float* in, const float* cos, const float* sin, float scale, int64_t n,
               float* out);
  // One step of the online softmax over s[0, valid): turns s into exp(s − max), adds to *sum,
  // updates *max, zeroes s[valid, n); returns the factor that earlier sums were scaled by.
  float (*softmax_step)(float* s, int64_t valid, int64_t n, float* max, float* sum);
  // x *= factor.
  void (*scale)(float* x, int64_t n, float factor);
  // max and Σ exp(s − max) over n ≥ 1 values.
  void (*log_sum_exp)(const float* s, int64_t n, float* max, float* sum);
  // Round to nearest even.
  void (*to_bfloat16)(const float* in, int64_t n, BFloat16Bits* out);
  void (*from_bfloat16)(const BFloat16Bits* in, int64_t n, float* out);
  // out[2j] = even[j], out[2j + 1] = odd[j].
  void (*interleave)(const BFloat16Bits* even, const BFloat16Bits* odd, int64_t n,
                     BFloat16Bits* out);
  // Transposes `rows` (≤ 64) rows of n 32-bit words each into out[n][64]; null rows and the rows
  // beyond give zeros.
  void (*transpose64)(const uint32_t* const* in, int64_t rows, int64_t n, uint32_t* out);
};

const CpuKernels& BestCpuKernels();

// Each instruction set's table, or null where the machine lacks it (for tests that compare them).
const CpuKernels* CpuKernelsFor(const char* name);

}  // namespace espalier

#endif  // ESPALIER_WORKER_ENGINE_CPU_KERNELS_H_
