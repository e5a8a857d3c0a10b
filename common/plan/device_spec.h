// What a device can hold and compute, as far as a plan needs to know.
#ifndef ESPALIER_COMMON_PLAN_DEVICE_SPEC_H_
#define ESPALIER_COMMON_PLAN_DEVICE_SPEC_H_

#include <cstdint>
#include <istream>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "common/job_spec.h"

namespace espalier {

// Rates are sustained ones, in floating-point operations a second; a multiply-add is two.
struct DeviceSpec {
  std::string name;
  // A GPU has memory of its own; a "device" on the CPU shares everything with the host.
  bool gpu = false;
  int64_t memory = 0;         // bytes that a worker may use
  double float32_flops = 0;   // matrix products in float32
  double bfloat16_flops = 0;  // matrix products of a job in bfloat16
  double float64_flops = 0;   // factorisations: importance, rankings, reformation
  int threads = 1;            // of a CPU; each factorises a matrix of its own
  // Of a CPU: jobs in bfloat16 multiply in it, and not in float32.
  bool multiplies_bfloat16 = true;
  std::string assumptions;  // in words, for the reader of a plan

  double RateFor(Precision precision) const {
    return precision == Precision::kFloat32 ? float32_flops : bfloat16_flops;
  }
};

inline constexpr double kDefaultUtilisation = 0.45;

// "a100-40g", "a100-80g" or "h100-80g": published dense peaks times `utilisation`. Espalier has not
// been measured on any of them. INVALID_ARGUMENT lists the names.
absl::StatusOr<DeviceSpec> PresetDevice(std::string_view name,
                                        double utilisation = kDefaultUtilisation);

// A share 1/`workers` of a machine with so many cores and bytes, as `espalier run` divides it.
DeviceSpec CpuDevice(int cores, int64_t memory, int64_t workers = 1,
                     bool multiplies_bfloat16 = true);

// Replaces what is known about the device's speed by one number: that of matrix products in
// `precision`. On a CPU the other rates follow from it.
void SetRate(double flops, Precision precision, DeviceSpec* device);

// Bytes that may be used, from a file like /proc/meminfo ("MemAvailable:"); 0 when it says nothing.
int64_t ReadAvailableMemory(std::istream& meminfo);

// "80G", "512M", "1.5T" or a number of bytes; powers of 1024. INVALID_ARGUMENT says what is meant.
absl::StatusOr<int64_t> ParseBytes(std::string_view text);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_DEVICE_SPEC_H_
