#include "worker/cuda/module.h"

#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime.h>
#include <nccl.h>

#include <cstdio>
#include <exception>
#include <mutex>

#include "worker/cuda/module_internal.h"

namespace {

using espalier::cuda_module::Check;
using espalier::cuda_module::Fail;
using espalier::cuda_module::ScopedDevice;

int DeviceCount(int32_t* count, char* error, size_t error_size) {
  int devices = 0;
  if (Check("cudaGetDeviceCount", cudaGetDeviceCount(&devices), error, error_size) != 0) return 1;
  *count = devices;
  return 0;
}

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
  for (size_t i = 0; i < sizeof(properties.uuid.bytes); ++i) {
    std::snprintf(description->uuid + 2 * i, sizeof(description->uuid) - 2 * i, "%02x",
                  static_cast<unsigned char>(properties.uuid.bytes[i]));
  }
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

int Allocate(int32_t device, int64_t bytes, void** data, char* error, size_t error_size) {
  const ScopedDevice current(device);
  if (Check("cudaSetDevice", current.result(), error, error_size) != 0) return 1;
  try {
    // The engine's first tensor has done this; without an engine nobody has.
    static std::once_flag once;
    std::call_once(once, [] { c10::cuda::CUDACachingAllocator::init(c10::cuda::device_count()); });
    *data = c10::cuda::CUDACachingAllocator::raw_alloc(static_cast<size_t>(bytes));
  } catch (const std::exception& exception) {
    return Fail("allocate", exception.what(), error, error_size);
  }
  return 0;
}

void Release(int32_t, void* data) {
  try {
    c10::cuda::CUDACachingAllocator::raw_delete(data);
  } catch (const std::exception& exception) {
    std::fprintf(stderr, "libespalier_cuda: release: %s\n", exception.what());
  }
}

int Copy(int32_t device, void* to, const void* from, int64_t bytes, char* error,
         size_t error_size) {
  const ScopedDevice current(device);
  if (Check("cudaSetDevice", current.result(), error, error_size) != 0) return 1;
  try {
    const cudaStream_t stream =
        c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device)).stream();
    if (Check("cudaMemcpyAsync",
              cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream),
              error, error_size) != 0) {
      return 1;
    }
    return Check("cudaStreamSynchronize", cudaStreamSynchronize(stream), error, error_size);
  } catch (const std::exception& exception) {
    return Fail("copy", exception.what(), error, error_size);
  }
}

int FinishStream(int32_t device, char* error, size_t error_size) {
  const ScopedDevice current(device);
  if (Check("cudaSetDevice", current.result(), error, error_size) != 0) return 1;
  try {
    const auto stream = c10::cuda::getCurrentCUDAStream(static_cast<c10::DeviceIndex>(device));
    return Check("cudaStreamSynchronize", cudaStreamSynchronize(stream.stream()), error,
                 error_size);
  } catch (const std::exception& exception) {
    return Fail("wait for the stream", exception.what(), error, error_size);
  }
}

constexpr EspalierCudaModule kModule = {
    .interface_version = kEspalierCudaInterfaceVersion,
    .device_count = DeviceCount,
    .describe_device = DescribeDevice,
    .synchronize = Synchronize,
    .nccl_version = NcclVersion,
    .allocate = Allocate,
    .release = Release,
    .copy = Copy,
    .finish_stream = FinishStream,
    .nccl_unique_id = espalier::cuda_module::NcclUniqueId,
    .nccl_open = espalier::cuda_module::NcclOpen,
    .nccl_send = espalier::cuda_module::NcclSend,
    .nccl_receive = espalier::cuda_module::NcclReceive,
    .nccl_poll = espalier::cuda_module::NcclPoll,
    .nccl_abort = espalier::cuda_module::NcclAbort,
};

}  // namespace

const EspalierCudaModule* espalier_cuda_module() { return &kModule; }
