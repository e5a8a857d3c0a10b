// How many candidates the search of `method: espalier` scores, and what is repaired for them
// (coordinator/search/allocation_search.h).
#ifndef ESPALIER_COMMON_PLAN_ALLOCATION_COUNTS_H_
#define ESPALIER_COMMON_PLAN_ALLOCATION_COUNTS_H_

#include <cstdint>
#include <vector>

#include "common/job_spec.h"
#include "common/model_config.h"

namespace espalier {

// The shares of a layer's attention and MLP that are left when it is cut alone: nothing, and the
// cuts nearest to a third and to two thirds. The same in every layer.
struct LayerProbes {
  std::vector<double> attention;
  std::vector<double> mlp;

  int64_t count() const { return std::ssize(attention) + std::ssize(mlp); }
};
LayerProbes ProbesOf(const ModelConfig& config, const JobSpec& spec);

// Candidates of one kind, of which several are scored at a time.
struct CandidateBatch {
  enum class Kind { kStart, kOffspring, kFinalists };
  Kind kind = Kind::kStart;
  int64_t batches = 0;
  int64_t candidates = 0;  // of each batch
  int64_t sequences = 0;   // for each candidate
  // Modules that no candidate had before, about; those that it shares with others may be kept.
  double new_modules = 0;
};
// The evolution of one size: the start, the offspring of all rounds, and their finalists.
std::vector<CandidateBatch> EvolutionOf(const ModelConfig& config, const JobSpec& spec);

// What the engine's cache of repaired modules (worker/engine/repair_cache.h) holds at most, on each
// stage.
int64_t RepairCacheBytes(const ModelConfig& config, const JobSpec& spec);

}  // namespace espalier

#endif  // ESPALIER_COMMON_PLAN_ALLOCATION_COUNTS_H_
