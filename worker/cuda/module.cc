#include "worker/cuda/module.h"

#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime.h>
#include <nccl.h>

#include <cstdio>
#include <exception>

namespace {

// Writes `message` and returns the functions' mark of failure.
int Fail(const char* what, const char* message, char* error, size_t error_size) {
  std::snprintf(error, error_size, "%s: %s", what, message);
  return 1;
}

int Check(const char* what, cudaError_t result, char* error, size_t error_size) {
  return result == cudaSuccess ? 0 : Fail(what, cudaGetErrorString(result), error, error_size);
}

int DeviceCount(int32_t* count, char* error, size_t error_size) {
  int devices = 0;
  if (Check("cudaGetDeviceCount", cudaGetDeviceCount(&devices), error, error_size) != 0) return 1;
  *count = devices;
  return 0;
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

int DescribeDevice(int32_t device, EspalierCudaDevice* description, char* error,
                   size_t error_size) {
  cudaDeviceProp properties;
  if (Check("cudaGetDeviceProperties", cudaGetDeviceProperties(&properties, device), error,
            error_size) != 0) {
    return 1;
  }
  const ScopedDevice current(device);
  if (Check("cudaSetDevice", current.result(), error, error_size) != 0) return 1;
  size_t free_bytes = 0;
  size_t total_bytes = 0;
  if (Check("cudaMemGetInfo", cudaMemGetInfo(&free_bytes, &total_bytes), error, error_size) != 0) {
    return 1;
  }
  std::snprintf(description->name, sizeof(description->name), "%s", properties.name);
  description->compute_major = properties.major;
  description->compute_minor = properties.minor;
  description->total_bytes = static_cast<int64_t>(total_bytes);
  description->free_bytes = static_cast<int64_t>(free_bytes);
  return 0;
}

int Synchronize(int32_t device, char* error, size_t error_size) {
  const ScopedDevice current(device);
  if (Check("cudaSetDevice", current.result(), error, error_size) != 0) return 1;
  try {
    // libtorch's, which also reports assertions of its kernels.
    c10::cuda::device_synchronize();
  } catch (const std::exception& exception) {
    return Fail("synchronize", exception.what(), error, error_size);
  }
  return 0;
}

int NcclVersion(int32_t* version, char* error, size_t error_size) {
  int number = 0;
  const ncclResult_t result = ncclGetVersion(&number);
  if (result != ncclSuccess) {
    return Fail("ncclGetVersion", ncclGetErrorString(result), error, error_size);
  }
  *version = number;
  return 0;
}

constexpr EspalierCudaModule kModule = {
    .interface_version = kEspalierCudaInterfaceVersion,
    .device_count = DeviceCount,
    .describe_device = DescribeDevice,
    .synchronize = Synchronize,
    .nccl_version = NcclVersion,
};

}  // namespace

const EspalierCudaModule* espalier_cuda_module() { return &kModule; }
