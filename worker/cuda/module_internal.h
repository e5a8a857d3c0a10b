// What the source files of libespalier_cuda.so share. Nothing outside it includes this.
#ifndef ESPALIER_WORKER_CUDA_MODULE_INTERNAL_H_
#define ESPALIER_WORKER_CUDA_MODULE_INTERNAL_H_

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>
#include <cstdio>

#include "worker/cuda/module.h"

namespace espalier::cuda_module {

// Writes `message` and returns the functions' mark of failure.
inline int Fail(const char* what, const char* message, char* error, size_t error_size) {
  std::snprintf(error, error_size, "%s: %s", what, message);
  return 1;
}

inline int Check(const char* what, cudaError_t result, char* error, size_t error_size) {
  return result == cudaSuccess ? 0 : Fail(what, cudaGetErrorString(result), error, error_size);
}

// Makes `device` current and restores the caller's device.
class ScopedDevice {
 public:
  explicit ScopedDevice(int device) {
    result_ = cudaGetDevice(&previous_);
    if (result_ == cudaSuccess) result_ = cudaSetDevice(device);
  }
  ~ScopedDevice() {
    if (result_ == cudaSuccess) cudaSetDevice(previous_);
  }
  ScopedDevice(const ScopedDevice&) = delete;
  ScopedDevice& operator=(const ScopedDevice&) = delete;

  cudaError_t result() const { return result_; }

 private:
  int previous_ = 0;
  cudaError_t result_;
};

// The table's functions of these names (nccl_pair.cc).
int NcclUniqueId(char* id, char* error, size_t error_size);
int NcclOpen(int32_t device, const char* id, int32_t rank, EspalierNcclPair** pair, char* error,
             size_t error_size);
int NcclSend(EspalierNcclPair* pair, const void* data, int64_t bytes, char* error,
             size_t error_size);
int NcclReceive(EspalierNcclPair* pair, void* data, int64_t bytes, char* error, size_t error_size);
int NcclPoll(EspalierNcclPair* pair, int32_t* done, char* error, size_t error_size);
void NcclAbort(EspalierNcclPair* pair);

}  // namespace espalier::cuda_module

#endif  // ESPALIER_WORKER_CUDA_MODULE_INTERNAL_H_
