// Models, jobs and scores for the tests of the search, and what "legal" means, computed from the
// definition (docs/method.md) and not with the code under test.
#ifndef ESPALIER_COORDINATOR_SEARCH_TEST_MODELS_H_
#define ESPALIER_COORDINATOR_SEARCH_TEST_MODELS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "common/importance.h"
#include "common/job_spec.h"
#include "common/model_config.h"
#include "common/ranking.h"
#include "common/rng.h"
#include "common/subnet.h"

namespace espalier::search {

// 3 layers, d 8, 4 heads in 2 groups of dim 8, f 12: small enough to enumerate.
ModelConfig TinyModel();
// 8 layers, d 64, 4 heads in 2 groups of dim 16, f 192: for whole searches.
ModelConfig SmallModel();

// A job with its defaults resolved: sizes free, all ratios and depths possible, few candidates.
JobSpec TestJob(const ModelConfig& config, double ratio);

UnitScores RandomScores(const ModelConfig& config, uint64_t seed);

// Cuts of whole groups, of pairs of every group, and of both, several of a size; errors descend
// with the size and differ from layer to layer.
Ranking RandomRanking(const ModelConfig& config, const CutSteps& steps, uint64_t seed);

// What is illegal about the subnet; empty when it is legal.
std::string WhyIllegal(const Subnet& subnet, const ModelConfig& config, const JobSpec& spec);

// Units that both masks keep.
int64_t Shared(const Bitmask& a, const Bitmask& b);

// All masks of a layer, the MLP's last.
std::vector<Bitmask> MasksOf(const LayerMask& layer);

}  // namespace espalier::search

#endif  // ESPALIER_COORDINATOR_SEARCH_TEST_MODELS_H_
