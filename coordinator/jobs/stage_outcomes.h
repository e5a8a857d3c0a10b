// The answers of a replica's stages to one task, put together.
#ifndef ESPALIER_COORDINATOR_JOBS_STAGE_OUTCOMES_H_
#define ESPALIER_COORDINATOR_JOBS_STAGE_OUTCOMES_H_

#include <vector>

#include "absl/status/statusor.h"
#include "common/stage.h"
#include "coordinator/jobs/types.h"

namespace espalier {

// `parts` by stage, `split` the stages' layers. Layers are put in a row, the losses are the last
// stage's, bytes are summed. A single stage's answer stays as it is. INVALID_ARGUMENT when the
// parts do not belong together. Not for loads: see ModelHolders.
absl::StatusOr<Outcome> MergeOutcomes(const std::vector<Outcome>& parts,
                                      const std::vector<StageRange>& split);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_JOBS_STAGE_OUTCOMES_H_
