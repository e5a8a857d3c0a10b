// Operations and time of every phase of a job.
#ifndef ESPALIER_COMMON_PLAN_PHASES_H_
#define ESPALIER_COMMON_PLAN_PHASES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/plan/pace.h"

namespace espalier {

struct PhasePlan {
  std::string name;
  double flops = 0;
  double seconds = 0;
};

// A job as its phases see it. `sizes`: TargetSpecs, resolved.
struct PhasedJob {
  const ModelConfig& config;
  const std::vector<JobSpec>& sizes;
  int64_t eval_sequences;
  bool scratch;  // PlanOptions
  Pace pace;

  const JobSpec& spec() const { return sizes.front(); }  // for what all sizes share
  double layers() const { return static_cast<double>(config.num_layers); }
};

// What the search of a method scores, of all sizes.
struct SearchFigures {
  int64_t candidates = 0;
  int64_t tokens = 0;
  // Of the largest size: between two candidates that leave one replica, and of all replicas.
  double candidate_seconds = 0;
  double candidates_per_hour = 0;
};

// In the order in which they come, phases of several sizes as their sum.
std::vector<PhasePlan> PhasesOf(const PhasedJob& job, SearchFigures* search);

// Those that only `method: espalier` has: predictions and rankings after the importance, and in
// place of the paper's search sensitivities and evolution.
std::vector<PhasePlan> RankingPhases(const PhasedJob& job);
std::vector<PhasePlan> AllocationPhases(const PhasedJob& job, SearchFigures* search);

// Repairing the modules of a size's subnet that were lost because the engine's cache has no room
// and there is no scratch, or `least` of them.
PhasePlan Repair(const PhasedJob& job, const JobSpec& size, double least);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_PHASES_H_
