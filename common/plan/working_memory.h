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

// Summing a Gram matrix in bfloat16 on a GPU: what a batch adds to it.
int64_t GramWorkspace(const ModelConfig& config, Precision precision, const DeviceSpec& device);

// Of unit scores and of reformation, for as many matrices at once as a CPU has threads.
int64_t ImportanceWorkspace(const ModelConfig& config, const DeviceSpec& device);
int64_t ReformationWorkspace(const ModelConfig& config, double share, const ReformationSpec& spec,
                             const DeviceSpec& device);

// Of rankings: eliminations, as many at once; then what leaving pairs out takes, of one layer.
int64_t EliminationWorkspace(const ModelConfig& config, const DeviceSpec& device);
int64_t EffectWorkspace(const ModelConfig& config, int64_t positions, int threads);

// The metric of the last layer's outputs.
int64_t HeadMetricWorkspace(const ModelConfig& config, const DeviceSpec& device);

// The dense model's predictions on the search text, which the last stage keeps, and what making
// them takes.
int64_t PredictionBytes(const ModelConfig& config, const JobSpec& spec);
int64_t PredictionWorkspace(const ModelConfig& config, const DeviceSpec& device);

// Progressive reformation: the residual streams of the calibration text, dense and reformed, and
// what is held beside them and a layer's activations.
int64_t StreamBytes(const ModelConfig& config, const JobSpec& spec);
int64_t ProgressiveWorkspace(const ModelConfig& config, double share, const JobSpec& spec,
                             const DeviceSpec& device);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_WORKING_MEMORY_H_
