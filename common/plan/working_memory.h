// What the engine holds for a while beside weights and statistics: activations of a batch, gathered
// layers, matrices that are being factorised. Close upper bounds of what worker/engine allocates,
// whose batch sizes are repeated here; tests/plan_memory_test.cc compares the two.
#ifndef ESPALIER_COMMON_PLAN_WORKING_MEMORY_H_
#define ESPALIER_COMMON_PLAN_WORKING_MEMORY_H_

#include <cstdint>

#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/plan/device_spec.h"

namespace espalier {

// Two layers: on a CPU the packed copy of the one in hand, which is twice as wide as bfloat16
// weights on processors without bfloat16 instructions; on a GPU what was gathered of two.
int64_t ScratchBytes(const ModelConfig& config, Precision precision);

// Of one batch; more with `observed`, when calibration keeps the inputs of a layer's linears.
int64_t ActivationBytes(const ModelConfig& config, Precision precision, const DeviceSpec& device,
                        int64_t length, bool observed);

// Of unit scores and of reformation, on the host, for as many matrices at once as it has threads.
int64_t ImportanceWorkspace(const ModelConfig& config, int threads);
int64_t ReformationWorkspace(const ModelConfig& config, double share, const ReformationSpec& spec,
                             int threads);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_WORKING_MEMORY_H_
