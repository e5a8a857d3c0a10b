// Stands in for libespalier_cuda.so in tests: two devices, of which the second fails to
// synchronise, and an NCCL among threads (fake_nccl.h).
#include <cstdio>

#include "worker/cuda/fake_nccl.h"
#include "worker/cuda/module.h"

namespace {

int DeviceCount(int32_t* count, char*, size_t) {
  *count = 2;
  return 0;
}

int DescribeDevice(int32_t device, EspalierCudaDevice* description, char*, size_t) {
  std::snprintf(description->name, sizeof(description->name), "fake device %d", device);
  std::snprintf(description->uuid, sizeof(description->uuid), "fake-uuid-%d", device);
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

namespace fake = espalier::fake_nccl;

constexpr EspalierCudaModule kModule = {ESPALIER_FAKE_INTERFACE_VERSION,
                                        DeviceCount,
                                        DescribeDevice,
                                        Synchronize,
                                        NcclVersion,
                                        fake::Allocate,
                                        fake::Release,
                                        fake::Copy,
                                        fake::FinishStream,
                                        fake::UniqueId,
                                        fake::Open,
                                        fake::Send,
                                        fake::Receive,
                                        fake::Poll,
                                        fake::Abort};

}  // namespace

const EspalierCudaModule* espalier_cuda_module() { return &kModule; }
