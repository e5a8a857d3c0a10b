// Stands in for libespalier_cuda.so in loader_test.cc: two devices, of which the second is broken.
#include <cstdio>

#include "worker/cuda/module.h"

namespace {

int DeviceCount(int32_t* count, char*, size_t) {
  *count = 2;
  return 0;
}

int DescribeDevice(int32_t device, EspalierCudaDevice* description, char*, size_t) {
  std::snprintf(description->name, sizeof(description->name), "fake device %d", device);
  description->compute_major = 9;
  description->compute_minor = 0;
  description->total_bytes = int64_t{40} << 30;
  description->free_bytes = int64_t{39} << 30;
  return 0;
}

int Synchronize(int32_t device, char* error, size_t error_size) {
  if (device == 0) return 0;
  std::snprintf(error, error_size, "device %d fell off the bus", device);
  return 1;
}

int NcclVersion(int32_t* version, char*, size_t) {
  *version = 22803;
  return 0;
}

constexpr EspalierCudaModule kModule = {ESPALIER_FAKE_INTERFACE_VERSION, DeviceCount,
                                        DescribeDevice, Synchronize, NcclVersion};

}  // namespace

const EspalierCudaModule* espalier_cuda_module() { return &kModule; }
