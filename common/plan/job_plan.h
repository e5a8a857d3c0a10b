// The plan of a job: what every stage holds, what every phase computes and how long that takes.
// Pure arithmetic; docs/plan.md states it.
#ifndef ESPALIER_COMMON_PLAN_JOB_PLAN_H_
#define ESPALIER_COMMON_PLAN_JOB_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/plan/device_spec.h"
#include "common/plan/phases.h"
#include "common/plan/stage_split.h"

namespace espalier {

struct PlanOptions {
  DeviceSpec device;
  int64_t devices = 1;
  int64_t stages = 0;          // 0: the fewest that fit
  int64_t eval_sequences = 0;  // that the held-out text has; 0 when there is none or it is unknown
  int64_t free_disk = 0;       // bytes where the result goes; 0: unknown, not checked
  // Whether repaired modules that the engine's cache has no room for wait on the worker's disk;
  // otherwise they are made again.
  bool scratch = true;
};

// Bytes on one stage's device. On a GPU `host` bytes are needed beside them in the host's memory;
// on a CPU everything is on the device.
struct StagePlan {
  StageRange layers;
  int64_t weights = 0;
  int64_t statistics = 0;  // what is kept: Gram matrices, new weights, predictions
  int64_t working = 0;     // the largest need of any phase for scratch, activations, workspace
  int64_t host = 0;
  double candidate_flops = 0;  // at the largest size

  int64_t needed() const { return weights + statistics + working; }
};

struct SizePlan {
  double ratio = 0;
  double parameters = 0;  // ratio · dense
  double share = 0;       // UniformShare
};

struct JobPlan {
  int64_t dense_parameters = 0;
  std::vector<SizePlan> sizes;  // as the job has them; the largest decides about the memory

  std::vector<StagePlan> stages;
  int64_t replicas = 0;         // sets of stages that the devices make; 0: too few devices
  int64_t smallest_stages = 0;  // with which every stage fits a device; 0: with none
  bool fits_memory = false;
  bool fits_devices = false;
  bool fits_disk = false;

  // A candidate of the search, for `method: espalier` an offspring, on so many sequences.
  int64_t candidate_sequences = 0;
  int64_t candidate_length = 0;
  double dense_candidate_flops = 0;  // one candidate at ratio 1
  double candidate_flops = 0;        // and at the largest size, without repairs
  double candidate_seconds = 0;      // between two candidates that leave one replica
  int64_t candidates = 0;            // of all sizes, and of all kinds
  int64_t candidate_tokens = 0;
  double candidates_per_hour = 0;  // of all replicas, in the search
  std::vector<PhasePlan> phases;
  double seconds = 0;  // all phases

  int64_t compact_bytes = 0;  // of the results, in two bytes a weight
  int64_t padded_bytes = 0;

  bool fits() const { return fits_memory && fits_devices && fits_disk; }
  int64_t LargestStage() const;  // bytes
};

// `spec` must be resolved (ResolveDefaults). INVALID_ARGUMENT for stages that the model cannot be
// divided into. A job that does not fit is no error: the plan says so, and shows the stages asked
// for, or as many as there are devices.
absl::StatusOr<JobPlan> PlanJob(const ModelConfig& config, const JobSpec& spec,
                                const PlanOptions& options);

// What to change about a job that does not fit, each tried out by planning it; empty if it fits.
std::vector<std::string> PlanAdvice(const ModelConfig& config, const JobSpec& spec,
                                    const PlanOptions& options, const JobPlan& plan);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_JOB_PLAN_H_
