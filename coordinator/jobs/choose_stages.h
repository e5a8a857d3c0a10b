// Into how many stages a job's model is divided, and where.
#ifndef ESPALIER_COORDINATOR_JOBS_CHOOSE_STAGES_H_
#define ESPALIER_COORDINATOR_JOBS_CHOOSE_STAGES_H_

#include <vector>

#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/stage.h"
#include "coordinator/jobs/types.h"

namespace espalier {

// The layers of each stage, balanced (common/plan). As many stages as `spec` says; otherwise the
// fewest whose needs the smallest of `workers` can hold, but never more than there are workers:
// then it is tried, and the worker's own error says what is missing. `spec` must be resolved.
std::vector<StageRange> SplitFor(const ModelConfig& config, const JobSpec& spec,
                                 const std::vector<WorkerInfo>& workers);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_CHOOSE_STAGES_H_
