// What a worker says of itself in its hello.
#ifndef ESPALIER_WORKER_SERVICE_DEVICE_INFO_H_
#define ESPALIER_WORKER_SERVICE_DEVICE_INFO_H_

#include <cstdint>
#include <filesystem>
#include <string>

#include "absl/status/statusor.h"

namespace espalier {

struct DeviceInfo {
  std::string name;          // for people: the processor's or the GPU's
  int64_t memory_bytes = 0;  // that the device can use; 0: not known
};

// `device` is "cpu" or "cuda:N"; INVALID_ARGUMENT otherwise. A cpu's memory is the machine's or the
// control group's limit, whichever is less. A GPU is described by the CUDA module
// (worker/cuda/loader.h), whose errors come back.
absl::StatusOr<DeviceInfo> DetectDevice(const std::string& device);

// The cpu as the files under `root` (proc, sys/fs/cgroup) describe it; "/" but in tests.
DeviceInfo DetectCpu(const std::filesystem::path& root);

// "host:pid".
std::string DefaultWorkerName();

}  // namespace espalier

#endif  // ESPALIER_WORKER_SERVICE_DEVICE_INFO_H_
