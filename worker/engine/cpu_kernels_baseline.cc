#define ESPALIER_KERNELS kCpuKernels_baseline
#define ESPALIER_KERNELS_NAME "baseline"
#include "worker/engine/cpu_kernels.inc"
