// What a job holds beside its weights, phase by phase; docs/plan.md lists it.
#ifndef ESPALIER_COMMON_PLAN_JOB_MEMORY_H_
#define ESPALIER_COMMON_PLAN_JOB_MEMORY_H_

#include <cstdint>

#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/plan/device_spec.h"

namespace espalier {

// The program with libtorch, and what the allocator keeps of memory that was given back: measured
// with SmolLM2-135M on two threads, 270 MiB above what the engine accounts for.
inline constexpr int64_t kProcessBytes = int64_t{320} << 20;

// Bytes on a stage's device; on a GPU also in the host's memory, which keeps the statistics. On a
// CPU everything is on the device.
struct JobMemory {
  int64_t layer = 0;  // statistics and new weights of each layer
  int64_t tail = 0;   // of the stage with the head: predictions of the dense model
  int64_t stage = 0;  // of every stage: repaired modules
  int64_t working =
      0;  // of every stage, the largest need of any phase; on a CPU kProcessBytes more
  int64_t host_layer = 0;
};

// Of a job with one size.
JobMemory MemoryOfSize(const ModelConfig& config, const JobSpec& spec, const DeviceSpec& device);
// Of all sizes: the largest of each.
JobMemory MemoryOf(const ModelConfig& config, const JobSpec& spec, const DeviceSpec& device);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_JOB_MEMORY_H_
