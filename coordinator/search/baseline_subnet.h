// The subnet that a baseline's unit scores choose (docs/method.md, "Baselines"): whole KV groups of
// attention, and MLP channels by the alignment.
#ifndef ESPALIER_COORDINATOR_SEARCH_BASELINE_SUBNET_H_
#define ESPALIER_COORDINATOR_SEARCH_BASELINE_SUBNET_H_

#include "absl/status/statusor.h"
#include "common/importance.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/subnet.h"

namespace espalier::search {

// The largest legal subnet that follows the method's rule. Every module keeps its best KV group, or
// its best target.align.mlp channels, at least.
//
// Magnitude and Wanda-sp compare units within their module: all attentions keep as many groups, the
// number nearest to the share of the layers' parameters that may stay for which the window can be
// met; MLPs fill what is left and differ by at most one step, the first layers having the larger
// ones.
//
// FLAP compares all units of the model, by how far their scores are from their module's mean.
// Scores are in standard deviations of the inputs' (Engine::BaselineScores); a group has the mean
// of its inputs'. Those above one threshold stay. How many parameters a unit has only counts
// towards where the threshold is. Channels are then rounded to the nearest multiple of the
// alignment.
//
// Where the job's reformation gives biases, the subnet is legal with and without them.
//
// `spec` has its defaults resolved and a baseline with scores as method; align.head_dim and what
// bounds the search space are of no concern. INVALID_ARGUMENT for scores that are not of this model
// and when there is no such legal subnet: says what is nearest and what to relax.
absl::StatusOr<Subnet> BaselineSubnet(const ModelConfig& config, const JobSpec& spec,
                                      const UnitScores& scores);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_BASELINE_SUBNET_H_
