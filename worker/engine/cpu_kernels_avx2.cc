#define ESPALIER_KERNELS kCpuKernels_avx2
#define ESPALIER_KERNELS_NAME "avx2"
#include "worker/engine/cpu_kernels.inc"
