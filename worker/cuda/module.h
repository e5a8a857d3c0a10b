// What libespalier_cuda.so offers: a table of plain C functions.
//
// CUDA and NCCL are used in that shared object alone, and only worker/cuda/loader.h opens it, for
// `--device cuda:N`: the programs themselves also run where no CUDA library exists. Opening it
// also loads libtorch_cuda.so, whose kernels then serve the engine's "cuda" tensors.
//
// C types only, so that no exception and no C++ object crosses the boundary. Every function
// returns 0, or another value after it wrote a message, cut to `error_size` bytes with the closing
// zero, to `error`. Thread-safe.
#ifndef ESPALIER_WORKER_CUDA_MODULE_H_
#define ESPALIER_WORKER_CUDA_MODULE_H_

#include <cstddef>
#include <cstdint>

extern "C" {

struct EspalierCudaDevice {
  char name[256];  // for people, zero-terminated
  int32_t compute_major;
  int32_t compute_minor;
  int64_t total_bytes;  // of device memory
  int64_t free_bytes;
};

struct EspalierCudaModule {
  int32_t interface_version;  // kEspalierCudaInterfaceVersion of the header it was built with
  int (*device_count)(int32_t* count, char* error, size_t error_size);
  int (*describe_device)(int32_t device, EspalierCudaDevice* description, char* error,
                         size_t error_size);
  // Waits for all work on the device; reports what went wrong in it.
  int (*synchronize)(int32_t device, char* error, size_t error_size);
  // Of the NCCL library that was loaded, as NCCL counts: 22803 is 2.28.3.
  int (*nccl_version)(int32_t* version, char* error, size_t error_size);
};

// The table; it lives as long as the shared object.
const EspalierCudaModule* espalier_cuda_module();

}  // extern "C"

// Counts up with every change of the table or its structures.
inline constexpr int32_t kEspalierCudaInterfaceVersion = 1;

#endif  // ESPALIER_WORKER_CUDA_MODULE_H_
