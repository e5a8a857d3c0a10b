#define ESPALIER_KERNELS kCpuKernels_avx512
#define ESPALIER_KERNELS_NAME "avx512"
#include "worker/engine/cpu_kernels.inc"
