// The baselines behind the interface of the searches, so that they go through the same phases and
// end in the same report (docs/method.md, "Baselines").
#ifndef ESPALIER_COORDINATOR_SEARCH_BASELINE_SEARCH_H_
#define ESPALIER_COORDINATOR_SEARCH_BASELINE_SEARCH_H_

#include <memory>

#include "absl/status/statusor.h"
#include "common/importance.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "coordinator/search/search.h"

namespace espalier {

// One generation of one candidate: RandomSubnet by spec.seed, which needs no scores, or the subnet
// that `scores` choose (BaselineSubnet). `spec` has its defaults resolved and a baseline as method.
// INVALID_ARGUMENT when the method has no legal subnet: says what to relax.
absl::StatusOr<std::unique_ptr<SubnetSearch>> MakeBaselineSearch(const ModelConfig& config,
                                                                 const JobSpec& spec,
                                                                 const UnitScores& scores);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SEARCH_BASELINE_SEARCH_H_
