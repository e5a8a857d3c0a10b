// The search that allocates sizes over modules (docs/method.md): which units a module loses is
// decided by a ranking, once for each of its possible sizes; what is searched is how much of each
// module stays.
//
// Fitness is a damage: the divergence from the dense model per token, 0 for none, lower is better.
//
// | generation | candidates | window |
// |---|---|---|
// | 0 | kSensitivity: each module alone cut to 2/3, to 1/3 and to nothing, all others whole | the
// first | | 1 | kInitial: the allocation whose damages, interpolated from those, add up to the
// least | finalists' of round 0 | | 2 + 2·r | kOffspring: up to `offspring` of the parent |
// offspring's of round r | | 3 + 2·r | kFinalist: the parent, then the best `finalists` offspring
// that did not fail | finalists' of round r |
//
// for rounds r = 0 .. generations − 1 of JobSpec::allocation (windows: sequence_windows.h). The
// finalist with the least fitness is the next parent, ties to the earlier one; when all fail the
// parent stays. The search ends early when a round has no new offspring.
//
// Candidates of generation 0 are larger than the target; all others are legal, as full as their
// modules' steps let them be. No offspring equals the start or another offspring. A finalist
// repeats a subnet, on other sequences when there are enough; its parent is the candidate that it
// repeats.
//
// best() is the parent as the finalist that it was last, with that fitness: a damage on that
// window, so it need not descend from round to round. Before the start is scored it is +infinity.
// survivors() has the parent alone.
#ifndef ESPALIER_COORDINATOR_SEARCH_ALLOCATION_SEARCH_H_
#define ESPALIER_COORDINATOR_SEARCH_ALLOCATION_SEARCH_H_

#include <memory>

#include "absl/status/statusor.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/ranking.h"
#include "coordinator/search/search.h"

namespace espalier {

// `spec` has its defaults resolved (ResolveDefaults); the ranking was made with
// CutSteps::channels = spec.align_mlp. INVALID_ARGUMENT for counts out of range, for a ranking that
// is not one of this model, and when no allocation has a legal ratio: says what is nearest and what
// to relax. The search space keys of spec.search (lowest ratios, min_layers) are of the paper's
// search alone.
absl::StatusOr<std::unique_ptr<SubnetSearch>> MakeAllocationSearch(const ModelConfig& config,
                                                                   const JobSpec& spec,
                                                                   const Ranking& ranking);

}  // namespace espalier

#endif  // ESPALIER_COORDINATOR_SEARCH_ALLOCATION_SEARCH_H_
